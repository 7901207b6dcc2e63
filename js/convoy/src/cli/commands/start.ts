/** `convoy start`: serves built code. Never changes the database's schema; ends by a signal, after the calls in flight. */
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { createConvoy } from '../../server/convoy.js';
import { loadNative, type PlannedStep } from '../../server/native.js';
import type { EngineOptions, LogFormat } from '../../server/options.js';
import { redirectOutput } from '../../server/output.js';
import { isConvoyError } from '../../values/errors.js';
import { openApiOf } from '../application.js';
import { builtCode, engineOptionsOf, withPrometheus } from '../code/runnable.js';
import { count } from '../count.js';
import { expectFreePort } from '../dev/serve.js';
import { listenForSignals } from '../dev/signals.js';
import { loadEnvFiles } from '../env-files.js';
import { layoutOf, type StartFlags, startOptionsOf } from '../options.js';
import { payloadOf, printJson, ReportedFailure } from '../result.js';
import type { Terminal } from '../terminal.js';
import { version } from '../version.js';

/** Resolves when a signal has arrived and everything has stopped. */
export async function runStart(flags: StartFlags, terminal: Terminal, cwd = process.cwd()): Promise<void> {
  // Each line is a whole record: for a log, not for a person who watches it grow.
  const line = (text: string, record: object): void => {
    if (flags.json) printJson(record);
    else process.stdout.write(`convoy: ${text}\n`);
  };
  try {
    await serveUntilSignal(flags, cwd, line);
  } catch (error) {
    if (!flags.json) throw error;
    printJson({ ok: false, error: payloadOf(error) });
    throw new ReportedFailure();
  } finally {
    terminal.detail('the process ends');
  }
}

async function serveUntilSignal(
  flags: StartFlags,
  cwd: string,
  line: (text: string, record: object) => void,
): Promise<void> {
  const signalled = listenForSignals();
  const layout = layoutOf(flags, cwd);
  loadEnvFiles(layout.root, cwd);
  // Libraries are careful only if they know: Better Auth then refuses its default secret, and limits sign-ins.
  process.env.NODE_ENV ??= 'production';
  const options = startOptionsOf(flags, process.env);
  const code = await builtCode(flags, layout);
  const logFormat = options.logFormat ?? code.config.logFormat ?? 'pretty';
  writeLogAs(logFormat);
  await expectFreePort(options);
  const folder = flags.static ?? code.config.static;
  // As an unset variable leaves it. The project itself would be served.
  if (flags.static?.trim() === '') throw new Error('--static is empty: name the folder of the files, such as ./dist.');
  const workers = options.workers ?? code.config.workers ?? availableParallelism();
  const settings: EngineOptions = {
    ...engineOptionsOf(code.config),
    ...defined({ poolSize: options.poolSize, basePath: options.basePath, trustProxy: options.trustProxy }),
    ...(await openApiOf(code.config.openapi, { root: layout.root, dev: false })),
    ...(folder === undefined ? {} : { static: path.resolve(layout.root, folder) }),
    ...withPrometheus(code.config.telemetry, options.prometheus),
    ...(options.corsOrigins === undefined ? {} : { cors: { ...code.config.cors, origins: options.corsOrigins } }),
    databaseUrl: options.databaseUrl,
    logFormat,
    workers,
    sourceMaps: true,
    sync: 'require',
  };
  const opening = createConvoy({ ...settings, program: code.program }).catch((error: unknown) => {
    throw withMigrateCommand(error, migrateCommand(flags, code.builtIn ?? ''));
  });
  const early = await Promise.race([opening.then(() => null), signalled]);
  const convoy = await opening;
  try {
    if (early !== null) return;
    for (const warning of convoy.loaded.warnings) process.stderr.write(`convoy: ${warning}\n`);
    const { host, port } = await convoy.listen({ host: options.host, port: options.port });
    const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}${settings.basePath ?? '/api'}`;
    const pages = folder === undefined ? '' : ` and the files in ${folder}`;
    const what = `${count(code.functions.length, 'function')}, ${count(workers, 'worker')}, process ${process.pid}`;
    line(`${version} serves ${url}${pages} (${what})`, {
      event: 'serving',
      url,
      host,
      port,
      workers,
      pid: process.pid,
    });
    const signal = await signalled;
    line(`${signal}: no new calls; those in flight have nine seconds`, { event: 'stopping', signal });
  } finally {
    await convoy.close();
  }
  line('stopped', { event: 'stopped' });
}

/** From now on all that this process prints has this form, on a terminal as well. */
function writeLogAs(format: LogFormat): void {
  const native = loadNative();
  native.setLogFormat(format);
  if (format === 'json') redirectOutput(native, { terminals: true });
}

/** The entries of an object that have a value. */
function defined<T extends object>(object: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [Key in keyof T]?: Exclude<T[Key], undefined>;
  };
}

/** The command that brings the database up to date for this code. */
function migrateCommand({ root, build }: StartFlags, folder: string): string {
  const flags = [
    ...(root === '.' ? [] : ['--root', root]),
    ...(build === undefined ? [] : ['--build', path.relative(path.resolve(root), folder) || build]),
  ];
  return ['npx convoy migrate', ...flags].join(' ');
}

function withMigrateCommand(error: unknown, command: string): unknown {
  if (!isConvoyError(error)) return error;
  const { pending } = (error.details ?? {}) as { readonly pending?: readonly PlannedStep[] };
  if (pending === undefined) return error;
  const missing = pending.map(({ name }) => `  ${name}`).join('\n');
  return Object.assign(
    new Error(
      `The database does not fit this code, and convoy start does not change it. It lacks:\n${missing}\n` +
        `Run this first: ${command}`,
      { cause: error },
    ),
    { stack: error.stack },
  );
}
