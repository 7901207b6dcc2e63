/** `convoy why`: says why live queries of a running server ran, and what would avoid runs whose answer stays the same. */
import { isDeepStrictEqual } from 'node:util';
import { type OutputFlags, runWithOutput } from '../data/output.js';
import { describeQuery, describeWaste } from '../live/describe-runs.js';
import { fetchOverview, type LiveOverview } from '../live/overview.js';
import { type ServerFlags, serverAddress } from '../live/server-address.js';
import type { Terminal } from '../terminal.js';

export interface WhyFlags extends ServerFlags, OutputFlags {}

/** `name` is the query; without one, all queries are described without their runs. `json` is its input. */
export async function runWhy(
  name: string | undefined,
  json: string | undefined,
  flags: WhyFlags,
  terminal: Terminal,
): Promise<void> {
  await runWithOutput(flags, terminal, async (out) => {
    const args = json === undefined ? undefined : parseInput(json);
    const query = name?.replace(/^api\./, '');
    const overview = await fetchOverview(await serverAddress(flags, process.cwd()), query);
    const report = only(overview, query, args);
    if (report.queries.length === 0 && report.functions.length === 0) {
      throw new Error(nothingToShow(query, overview));
    }
    if (query !== undefined) for (const each of report.queries) for (const line of describeQuery(each)) out.info(line);
    if (query !== undefined && report.queries.length === 0) out.info(`No client subscribes to ${query} now.`);
    for (const each of report.functions) for (const line of describeWaste(each)) out.info(line);
    return { report: { queries: report.queries, functions: report.functions }, ok: true };
  });
}

/** The part of the overview that was asked for. */
function only(overview: LiveOverview, name: string | undefined, args: unknown) {
  const queries = overview.queries.filter((query) => args === undefined || isDeepStrictEqual(query.args, args));
  const functions = overview.functions.filter((each) => name === undefined || each.function === name);
  return { queries, functions };
}

function nothingToShow(name: string | undefined, { functions }: LiveOverview): string {
  if (name === undefined || functions.length === 0) return 'No live query has run since the code was loaded.';
  const names = functions.map((each) => each.function).sort();
  return `No live query of ${name} has run since the code was loaded; those of ${names.join(', ')} have.`;
}

function parseInput(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`The input is not JSON: ${reason}. Write an object such as '{ "room": "lobby" }'.`, {
      cause: error,
    });
  }
}
