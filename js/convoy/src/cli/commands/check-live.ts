/**
 * `convoy check --live`: runs the queries of a project on its data, and reports what a write would run again. Inputs are
 * those of a file and of the live queries of a running server; a query without either is run without an input.
 */

import { isDeepStrictEqual } from 'node:util';
import { contextFromJson } from '../../server/auth.js';
import { type Convoy, openConvoy } from '../../server/convoy.js';
import { loadNative } from '../../server/native.js';
import { engineOptionsOf, type RunnableCode, runnableCode } from '../code/runnable.js';
import { count } from '../count.js';
import { type OutputFlags, runWithOutput } from '../data/output.js';
import { openDatabase } from '../dev/database.js';
import { loadEnvFiles } from '../env-files.js';
import { type CheckedQuery, describeFindings, findingsOf, greatestFanOut, type LiveFindings } from '../live/fan-out.js';
import { inputsOf, inputsOfFile, inputsOfServer, type QueryInputs } from '../live/inputs.js';
import { fetchOverview, type LiveQueryOverview } from '../live/overview.js';
import { type ServerFlags, serverAddress } from '../live/server-address.js';
import { layoutOf, parseThreshold } from '../options.js';
import type { Terminal } from '../terminal.js';

export interface CheckLiveFlags extends ServerFlags, OutputFlags {
  /** A file with inputs. */
  readonly inputs?: string;
  /** JSON of the context of the calls. */
  readonly context?: string;
  readonly maxFanOut?: string;
  readonly maxWholeReads?: string;
  readonly maxMissingIndexes?: string;
  readonly maxNotRun?: string;
}

/** A query that could not be run, and why. */
interface NotRun {
  readonly function: string;
  readonly input: unknown;
  readonly reason: string;
}

export async function runCheckLive(flags: CheckLiveFlags, terminal: Terminal): Promise<void> {
  await runWithOutput(flags, terminal, async (out) => {
    const cwd = process.cwd();
    const layout = layoutOf(flags, cwd);
    loadEnvFiles(layout.root, cwd);
    const thresholds = thresholdsOf(flags);
    const context = flags.context === undefined ? undefined : (contextFromJson(JSON.parse(flags.context)) as object);
    const given: QueryInputs = flags.inputs === undefined ? new Map() : await inputsOfFile(flags.inputs);
    const live = await inputsOfRunningServer(flags, cwd, out);
    const code = await runnableCode(flags, layout, out);
    const configuredUrl = process.env.DATABASE_URL || null;
    const database = await openDatabase(configuredUrl, layout, out);
    let convoy: Convoy | null = null;
    try {
      convoy = await openConvoy(loadNative(), {
        ...engineOptionsOf(code.config),
        program: code.program,
        databaseUrl: database.url,
        workers: 0,
        dev: true,
        sync: configuredUrl === null ? true : 'require',
        createDatabase: configuredUrl === null,
      });
      const { checked, notRun } = await runQueries(convoy, { code, sources: [given, live], context, out });
      const findings = findingsOf(checked);
      const ok = print({ findings, notRun, checked: checked.length }, thresholds, out);
      return { report: { ...findings, checked: checked.length, notRun }, ok };
    } finally {
      await convoy?.close();
      await database.stop();
    }
  });
}

async function inputsOfRunningServer(flags: CheckLiveFlags, cwd: string, out: Terminal): Promise<QueryInputs> {
  const server = await serverAddress(flags, cwd);
  try {
    const overview = await fetchOverview(server);
    out.info(`Inputs are taken from ${count(overview.queries.length, 'live query', 'live queries')} of ${server}`);
    return inputsOfServer(overview);
  } catch (error) {
    // Without the flag, no server need be running.
    if (flags.url !== undefined) throw error;
    out.info('No server is running, so no inputs are taken from live queries');
    return new Map();
  }
}

interface Work {
  readonly code: RunnableCode;
  readonly sources: readonly QueryInputs[];
  readonly context: object | undefined;
  readonly out: Terminal;
}

/** Subscribes to every query that clients may call, and takes what each depends on from the engine. */
async function runQueries(
  convoy: Convoy,
  { code, sources, context, out }: Work,
): Promise<{ readonly checked: CheckedQuery[]; readonly notRun: NotRun[] }> {
  const notRun: NotRun[] = [];
  const { port } = await convoy.listen({ host: '127.0.0.1', port: 0 });
  const names = code.functions.filter(({ kind, internal }) => kind === 'query' && !internal).map(({ name }) => name);
  await out.step('Running the queries', async (step) => {
    for (const name of names.sort()) {
      for (const input of inputsOf(name, sources)) {
        const reason = await subscribe(convoy, name, input, context);
        if (reason !== null) notRun.push({ function: name, input, reason });
      }
    }
    step.result(`Ran ${count(names.length, 'query', 'queries')}`);
  });
  const basePath = code.config.basePath ?? '/api';
  const { queries } = await fetchOverview(`http://127.0.0.1:${port}${basePath}`);
  const hasRun = ({ function: name, args }: LiveQueryOverview) =>
    args !== null && !notRun.some((each) => each.function === name && isDeepStrictEqual(each.input, args));
  const checked = queries
    .filter(hasRun)
    .map((query) => ({ ...query, takesInput: Object.keys(query.args as object).length > 0 }));
  return { checked, notRun };
}

/** Subscribes until this process ends. Returns why that failed, or null. */
async function subscribe(
  convoy: Convoy,
  name: string,
  input: unknown,
  context: object | undefined,
): Promise<string | null> {
  try {
    const options = context === undefined ? {} : { context };
    const results = convoy.watch({ kind: 'query', name } as never, input as never, options);
    await results.next();
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

interface Thresholds {
  readonly maxFanOut: number | null;
  readonly maxWholeReads: number | null;
  readonly maxMissingIndexes: number | null;
  readonly maxNotRun: number | null;
}

function thresholdsOf(flags: CheckLiveFlags): Thresholds {
  const given = {
    maxFanOut: parseThreshold(flags.maxFanOut, '--max-fan-out'),
    maxWholeReads: parseThreshold(flags.maxWholeReads, '--max-whole-reads'),
    maxMissingIndexes: parseThreshold(flags.maxMissingIndexes, '--max-missing-indexes'),
  };
  const maxNotRun = parseThreshold(flags.maxNotRun, '--max-not-run');
  // A query that was not run is below every other threshold, so a check without inputs would pass.
  const isChecked = Object.values(given).some((threshold) => threshold !== null);
  return { ...given, maxNotRun: maxNotRun ?? (isChecked ? 0 : null) };
}

/** Prints the findings; returns whether they are within the thresholds. */
function print(
  {
    findings,
    notRun,
    checked,
  }: { readonly findings: LiveFindings; readonly notRun: readonly NotRun[]; readonly checked: number },
  { maxFanOut, maxWholeReads, maxMissingIndexes, maxNotRun }: Thresholds,
  out: Terminal,
): boolean {
  for (const line of describeFindings(findings)) out.info(line);
  for (const { function: name, input, reason } of notRun) {
    out.warn(`${name} ${JSON.stringify(input)} could not be run: ${reason} Give inputs with --inputs.`);
  }
  const fanOut = greatestFanOut(findings);
  const wholeReads = findings.wholeReads.length;
  const problems: string[] = [];
  if (maxFanOut !== null && fanOut > maxFanOut) {
    problems.push(`a write runs ${count(fanOut, 'live query', 'live queries')} again; --max-fan-out is ${maxFanOut}`);
  }
  if (maxWholeReads !== null && wholeReads > maxWholeReads) {
    problems.push(`${count(wholeReads, 'read')} of whole tables; --max-whole-reads is ${maxWholeReads}`);
  }
  const missingIndexes = findings.missingIndexes.length;
  if (maxMissingIndexes !== null && missingIndexes > maxMissingIndexes) {
    const missing = count(missingIndexes, 'missing index', 'missing indexes');
    problems.push(`${missing}; --max-missing-indexes is ${maxMissingIndexes}`);
  }
  if (maxNotRun !== null && notRun.length > maxNotRun) {
    const runs = count(notRun.length, 'query', 'queries');
    problems.push(
      `${runs} could not be run, so the other thresholds were not checked for them; --max-not-run is ${maxNotRun}`,
    );
  }
  for (const problem of problems) out.fail(problem);
  if (problems.length > 0) return false;
  out.done(`Checked ${count(checked, 'live query', 'live queries')}; ${notRun.length} could not be run`);
  return true;
}
