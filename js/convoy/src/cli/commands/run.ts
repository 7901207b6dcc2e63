/**
 * `convoy run`: calls one function, internal ones too. The result is JSON on standard output; everything else, also what
 * the function prints, is on standard error.
 */
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { contextFromJson } from '../../server/auth.js';
import { type Convoy, openConvoy } from '../../server/convoy.js';
import { loadNative } from '../../server/native.js';
import { nearest } from '../../values/nearest.js';
import { engineOptionsOf, type RunnableCode, runnableCode } from '../code/runnable.js';
import { type DevDatabase, openDatabase } from '../dev/database.js';
import { listenForSignals } from '../dev/signals.js';
import { loadEnvFiles } from '../env-files.js';
import { layoutOf, type ProjectLayout, type RunFlags } from '../options.js';
import {
  payloadOf,
  printJson,
  printToStandardError,
  progressTerminal,
  quietTerminal,
  ReportedFailure,
  reportFailure,
} from '../result.js';
import type { Terminal } from '../terminal.js';

/** A signal ended the call. */
const INTERRUPTED = 130;

/** `json` is the input, `-` for standard input. */
export async function runRun(
  name: string,
  json: string | undefined,
  flags: RunFlags,
  cwd = process.cwd(),
): Promise<void> {
  const terminal = progressTerminal(flags);
  try {
    const input = parseJson(json === '-' ? await text(process.stdin) : (json ?? '{}'), 'The input');
    const context = flags.context === undefined ? undefined : contextFromJson(parseJson(flags.context, '--context'));
    const layout = layoutOf(flags, cwd);
    loadEnvFiles(layout.root, cwd);
    const code = await runnableCode(flags, layout, quietTerminal(terminal));
    const call: Call = { ...functionNamed(name, code), input, context };
    if (flags.watch && call.kind !== 'query') {
      throw new Error(`${call.name} is ${article(call.kind)}; --watch follows the results of a query.`);
    }
    await withConvoy({ code, layout, terminal }, async (convoy) => {
      if (flags.watch) await watch(convoy, call, flags);
      else print(await callOnce(convoy, call), flags);
    });
  } catch (error) {
    if (error instanceof ReportedFailure) throw error;
    if (flags.json) printJson({ ok: false, error: payloadOf(error) });
    else reportFailure(error, terminal);
    throw new ReportedFailure();
  }
}

interface Call {
  readonly name: string;
  readonly kind: 'query' | 'mutation' | 'action';
  readonly input: unknown;
  readonly context: unknown;
}

function functionNamed(given: string, { functions }: RunnableCode): Pick<Call, 'name' | 'kind'> {
  const name = given.replace(/^(?:api|internal)\./, '');
  const found = functions.find((each) => each.name === name);
  if (found !== undefined) return found;
  const names = functions.map((each) => each.name).sort();
  if (names.length === 0) throw new Error(`There is no function ${name}: the project has no functions.`);
  const close = nearest(name, names);
  const hint = close === null ? `The functions are ${names.join(', ')}.` : `Did you mean ${close}?`;
  throw new Error(`There is no function ${name}. ${hint}`);
}

interface Setting {
  readonly code: RunnableCode;
  readonly layout: ProjectLayout;
  readonly terminal: Terminal;
}

/** Opens Convoy without a listener. Only the embedded Postgres of development is changed to fit the schema. */
async function withConvoy({ code, layout, terminal }: Setting, work: (convoy: Convoy) => Promise<void>): Promise<void> {
  const signalled = listenForSignals();
  const configuredUrl = process.env.DATABASE_URL || null;
  // Functions run on this thread.
  printToStandardError();
  process.setSourceMapsEnabled(true);
  let database: DevDatabase | null = null;
  let convoy: Convoy | null = null;
  try {
    database = await openDatabase(configuredUrl, layout, quietTerminal(terminal));
    const isEmbedded = configuredUrl === null;
    convoy = await openConvoy(
      loadNative(),
      {
        ...engineOptionsOf(code.config),
        program: code.program,
        databaseUrl: database.url,
        workers: 0,
        // Messages of unexpected errors are for the person at this terminal.
        dev: true,
        sync: isEmbedded ? true : 'require',
        createDatabase: isEmbedded,
      },
      { onlyLocal: true },
    );
    const done = work(convoy).then(() => null);
    const signal = await Promise.race([done, signalled]);
    if (signal !== null) throw new ReportedFailure(INTERRUPTED);
  } finally {
    await convoy?.close();
    await database?.stop();
  }
}

function callOnce(convoy: Convoy, { name, kind, input, context }: Call): Promise<unknown> {
  const options = context === undefined ? {} : { context: context as object };
  // The kind was looked up, so the reference is of this kind.
  const reference = { kind, name } as never;
  return (convoy[kind] as (...args: unknown[]) => Promise<unknown>).call(convoy, reference, input, options);
}

/** Prints each new result until a signal, or until the reader of the output has gone. */
async function watch(convoy: Convoy, { name, kind, input, context }: Call, flags: RunFlags): Promise<void> {
  const options = context === undefined ? {} : { context: context as object };
  const results = convoy.watch({ kind, name } as never, input as never, options);
  const gone = once(process.stdout, 'close').then(() => ({ done: true }) as const);
  for (;;) {
    const next = await Promise.race([results.next(), gone]);
    if (next.done) return;
    print(next.value, flags, { oneLine: true });
  }
}

function print(result: unknown, flags: RunFlags, { oneLine = false } = {}): void {
  if (flags.json) {
    printJson({ ok: true, data: result ?? null });
    return;
  }
  const indent = process.stdout.isTTY && !oneLine ? 2 : undefined;
  process.stdout.write(`${JSON.stringify(result ?? null, null, indent)}\n`);
}

function parseJson(source: string, what: string): unknown {
  try {
    return JSON.parse(source);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`${what} is not JSON: ${reason}. Write an object such as '{ "room": "lobby" }'.`, { cause: error });
  }
}

function article(kind: string): string {
  return kind === 'action' ? 'an action' : `a ${kind}`;
}
