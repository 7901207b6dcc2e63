/**
 * `convoy dev`: starts database, code, server and watcher in this order, and stops them in the reverse order.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { type Convoy, createConvoy } from '../../server/convoy.js';
import type { TelemetryOptions } from '../../server/telemetry/telemetry-options.js';
import { isConvoyError } from '../../values/errors.js';
import { openApiOf } from '../application.js';
import { loadConfig } from '../code/config-file.js';
import { ensureSchema } from '../code/files.js';
import { CodeProblem } from '../code/problem.js';
import { engineOptionsOf, withPrometheus } from '../code/runnable.js';
import { DevApp } from '../dev/app.js';
import { type DevDatabase, openDatabase, prepareStateFolder, removeUnusedState } from '../dev/database.js';
import { databaseFault } from '../dev/fault.js';
import { ensureEmbeddedPostgres } from '../dev/install-postgres.js';
import { showLiveQueries } from '../dev/live-list.js';
import { openBrowser } from '../dev/open-browser.js';
import { DevPage } from '../dev/page/dev-page.js';
import { type DevProblem, type DevReport, problemOf } from '../dev/report.js';
import { expectFreePort, isLoopback, type ListenAddress, serve } from '../dev/serve.js';
import { ServerCommand } from '../dev/server-command.js';
import { listenForShortcuts } from '../dev/shortcuts.js';
import { listenForSignals } from '../dev/signals.js';
import { checkTypes } from '../dev/type-check.js';
import { type ProjectWatcher, watchProject } from '../dev/watch.js';
import { EnvFiles } from '../env-files.js';
import { ExitCode } from '../exit.js';
import { type DevFlags, type DevOptions, devOptionsOf, layoutOf, type ProjectLayout } from '../options.js';
import type { Terminal } from '../terminal.js';

/** The dependencies that tests replace. */
export interface DevDependencies {
  readonly cwd: string;
  readonly createConvoy: typeof createConvoy;
}

/** How another program runs `convoy dev`; its defaults are those of the command line. */
export interface DevControl {
  /** Resolves when `convoy dev` must stop. */
  readonly untilStopped: () => Promise<unknown>;
  readonly report: (report: DevReport) => void;
}

/** The options of an engine whose telemetry has no reader. */
const SILENT: TelemetryOptions = { otlp: false, prometheus: false };

/** The delay before the next attempt to use a database that was unavailable. */
const RETRY_MS = 2_000;

const defaults: DevDependencies = { cwd: process.cwd(), createConvoy };

const commandLine: DevControl = { untilStopped: listenForSignals, report: () => {} };

/** Resolves when a signal arrived and everything has stopped; with `--once`, when everything is up to date. */
export async function runDev(
  flags: DevFlags,
  terminal: Terminal,
  dependencies = defaults,
  control = commandLine,
): Promise<void> {
  const layout = layoutOf(flags, dependencies.cwd);
  const env = new EnvFiles(layout.root, dependencies.cwd);
  for (const file of env.load().loaded) terminal.detail(`loaded ${file}`);
  const options = devOptionsOf(flags, process.env);
  let quit = (_code: number) => {};
  const quitted = new Promise<number>((resolve) => (quit = resolve));
  // Throws, before anything is started, if there is no engine.
  const signalled = Promise.race([control.untilStopped().then(() => 0), quitted]);
  const stops: (() => Promise<void>)[] = [];
  try {
    const up = start({ layout, flags, env, options, terminal, dependencies, control, stops, quit });
    const continues = options.watch || options.serve || options.command !== null;
    const code = (await Promise.race([up.then(() => null), signalled])) ?? (continues ? await signalled : 0);
    if (code !== 0) throw new ExitCode(code);
  } finally {
    await stopAll(stops, terminal);
  }
}

interface StartOptions {
  readonly layout: ProjectLayout;
  readonly flags: DevFlags;
  readonly env: EnvFiles;
  readonly options: DevOptions;
  readonly terminal: Terminal;
  readonly dependencies: DevDependencies;
  readonly control: DevControl;
  /** Stop functions, in start order. */
  readonly stops: (() => Promise<void>)[];
  /** Stops `convoy dev`, as Ctrl-C does, with this exit code. */
  readonly quit: (code: number) => void;
}

async function start(everything: StartOptions): Promise<void> {
  const { layout, flags, env, options, terminal, dependencies, control, stops, quit } = everything;
  // Checked before anything is started, so that a taken port needs no cleanup.
  if (options.serve) await expectFreePort(options);
  if (options.databaseUrl === null) await ensureEmbeddedPostgres(layout, terminal);
  let opened = existsSync(layout.stateFolder);
  stops.push(async () => {
    if (!opened) await removeUnusedState(layout);
  });
  if (await ensureSchema(layout)) terminal.done(`Created ${path.relative(layout.root, layout.schemaFile)}`);
  await prepareStateFolder(layout);
  // One worker: more would each load the code at every change.
  const { workers: _workers, ...configured } = engineOptionsOf(await loadConfig(layout));
  const settings = {
    ...configured,
    // A person reads it.
    logFormat: 'pretty' as const,
    // A server of the developer's own opens a Convoy that has the port and the collector.
    ...(options.command === null ? withPrometheus(configured.telemetry, options.prometheus) : { telemetry: SILENT }),
    ...(await openApiOf(configured.openapi, { root: layout.root, dev: true })),
  };
  const databaseUrl = () => devOptionsOf(flags, process.env).databaseUrl;
  let database: DevDatabase | null = null;
  stops.push(async () => database?.stop());

  let watcher: ProjectWatcher | null = null;
  let problem: DevProblem | null = null;
  const app = new DevApp({
    layout,
    terminal,
    prepare: async () => {
      if (database !== null && database.configuredUrl === databaseUrl()) return;
      await database?.stop();
      database = null;
      database = await openDatabase(databaseUrl(), layout, terminal);
    },
    open: async (program) => {
      const url = database?.url ?? '';
      return dependencies.createConvoy({ ...settings, program, databaseUrl: url, dev: true, createDatabase: true });
    },
    readEnv: (changed) => {
      if (!changed.some((file) => env.files.includes(file))) return { names: [], otherDatabase: false };
      const { changed: names } = env.load();
      return { names, otherDatabase: names.includes('DATABASE_URL') };
    },
    isSuperseded: async () => watcher?.isSuperseded() ?? false,
    watches: options.watch,
    scheduleRetry: () => watcher?.triggerIn(RETRY_MS),
    onInputs: (files) => watcher?.follow(files),
    onOpened: async (convoy) => {
      opened = true;
      await show(convoy);
    },
    onLoaded: () => {
      problem = null;
      control.report({ kind: 'loaded' });
    },
    onProblem: (error) => {
      problem = problemOf(error);
      control.report({ kind: 'problem', problem });
    },
  });
  stops.push(() => app.close());

  let address: ListenAddress = options;
  const basePath = settings.basePath ?? '/api';
  const token = randomBytes(16).toString('hex');
  const page = new DevPage({
    token,
    isExposed: !isLoopback(options.host),
    basePath,
    convoy: () => app.convoy,
    code: () => app.code,
    problem: () => problem,
  });
  const { command } = options;
  const ownServer = command === null ? null : serverCommand(command, everything);
  stops.push(async () => ownServer?.stop());
  let isFirst = true;
  let stopListening: (() => void) | null = null;
  let stopChecking: (() => Promise<void>) | null = null;
  stops.push(async () => {
    stopListening?.();
    await stopChecking?.();
  });
  const show = async (convoy: Convoy) => {
    const rows: [string, string][] = [['Postgres', database?.displayUrl ?? '']];
    if (options.serve) {
      convoy.serveDevPage(page.answer);
      const url = await serve(convoy, address);
      const server = `${url}${basePath}`;
      const link = `${url}/_convoy#token=${token}`;
      control.report({ kind: 'serving', url, pageUrl: link });
      // If DATABASE_URL changes later, or with a restart, the server keeps this address.
      address = { host: options.host, port: convoy.address?.port ?? options.port };
      stopListening ??= listenForShortcuts(
        [
          { names: ['r'], does: 'restart the server', run: () => app.restart() },
          { names: ['o'], does: 'open the page with functions, tables and logs', run: () => openBrowser(link) },
          { names: ['l', 'live'], does: 'list the live queries', run: () => showLiveQueries(server, terminal) },
          { names: ['q'], does: 'quit', run: () => quit(0) },
        ],
        terminal,
      );
      rows.unshift(['Server', server], ['Page', link]);
    }
    if (options.watch)
      rows.push(['Watching', path.relative(dependencies.cwd, layout.convoyFolder) || layout.convoyFolder]);
    if (options.serve && process.stdin.isTTY) rows.push(['Shortcuts', 'type h and Enter']);
    // Since the start of the process; not after a restart.
    if (isFirst) terminal.done(`Ready in ${Math.round(performance.now())} ms`);
    isFirst = false;
    terminal.table(rows);
    if (options.watch && options.types) stopChecking ??= checkTypes(layout, terminal);
    // Last, so that its address is the last line.
    await ownServer?.start(database?.url ?? '');
  };

  if (options.watch) {
    watcher = await watchProject(layout, (files, times) => app.refresh(files, times), env.files);
    stops.push(watcher.close);
  }
  try {
    await app.start();
  } catch (error) {
    if (watcher === null || !isRecoverable(error, env)) throw error;
    app.report(error);
  }
}

function serverCommand(words: readonly string[], { layout, terminal, quit }: StartOptions): ServerCommand {
  const onFailure = (message: string) => {
    terminal.fail(message);
    quit(1);
  };
  return new ServerCommand({ words, root: layout.root, onEnd: quit, onFailure });
}

/**
 * Whether the error can be fixed while `convoy dev` runs: by a change of the code or `.env`, or in the database. An
 * invalid `DATABASE_URL` that comes from the environment needs a restart.
 */
function isRecoverable(error: unknown, env: EnvFiles): boolean {
  const fault = databaseFault(error);
  if (fault !== null) return fault.kind !== 'wrong-url' || env.controls('DATABASE_URL');
  return (
    error instanceof CodeProblem || (isConvoyError(error) && error.code !== 'UNAVAILABLE' && error.code !== 'TIMEOUT')
  );
}

async function stopAll(stops: readonly (() => Promise<void>)[], terminal: Terminal): Promise<void> {
  if (stops.length === 0) return;
  await terminal.step('Stopping', async (step) => {
    for (const stop of [...stops].reverse()) await stop();
    step.result('Stopped');
  });
}
