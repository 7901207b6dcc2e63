/** Prints the live queries in the terminal of `convoy dev`. */
import { count } from '../count.js';
import { fetchOverview, type LiveOverview, type LiveQueryOverview } from '../live/overview.js';
import type { Terminal } from '../terminal.js';

/** Prints the live queries of `server`, the base URL of its API. */
export async function showLiveQueries(server: string, terminal: Terminal): Promise<void> {
  try {
    for (const line of describeLive(await fetchOverview(server))) terminal.info(line);
  } catch (error) {
    terminal.fail(`The live queries cannot be listed: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The overview as lines of text. */
export function describeLive({ sessions, differing, queries }: LiveOverview): string[] {
  const lines = [`${count(queries.length, 'live query', 'live queries')} over ${count(sessions, 'stream')}`];
  for (const query of queries) {
    const args = query.args === null ? '' : ` ${JSON.stringify(query.args)}`;
    const state = query.state === 'idle' ? '' : `, ${query.state}`;
    lines.push(
      `${query.function}${args}: ${count(query.subscribers, 'subscriber')}, ${count(query.runs, 'run')}${state}, ${sharing(query)}`,
    );
    for (const read of query.reads) lines.push(`  reads ${read}`);
    if (query.lastCause !== null) lines.push(`  cause of the last run: ${query.lastCause}`);
  }
  for (const name of differing) {
    lines.push(`${name} returned different results to callers that share its result; see the log`);
  }
  return lines;
}

function sharing({ function: name, sharedBy }: LiveQueryOverview): string {
  if (name === 'createContext') return 'for one stream';
  if (sharedBy === null) return 'not shared';
  // A key with this prefix is not a context key; it describes the context as a whole.
  const keys = sharedBy.filter((key) => !key.startsWith('@@'));
  return keys.length === 0 ? 'shared by all callers' : `shared by callers with the same ${keys.join(', ')}`;
}
