/**
 * `convoy dev`: database, code, server and watcher, brought up in this order and taken down in the opposite one.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { type Convoy, createConvoy } from '../../server/convoy.js';
import { isConvoyError } from '../../values/errors.js';
import { ensureSchema } from '../code/files.js';
import { CodeProblem } from '../code/problem.js';
import { DevApp } from '../dev/app.js';
import { type DevDatabase, openDatabase, prepareStateFolder, removeUnusedState } from '../dev/database.js';
import { databaseFault } from '../dev/fault.js';
import { listLiveOnRequest } from '../dev/live-list.js';
import { expectFreePort, type ServeAt, serve } from '../dev/serve.js';
import { listenForSignals } from '../dev/signals.js';
import { type ProjectWatcher, watchProject } from '../dev/watch.js';
import { EnvFiles } from '../env-files.js';
import { type DevFlags, type DevOptions, devOptionsOf, layoutOf, type ProjectLayout } from '../options.js';
import type { Terminal } from '../terminal.js';

/** The seams at which tests stand. */
export interface DevSurroundings {
  readonly cwd: string;
  readonly createConvoy: typeof createConvoy;
}

/** How long a database that cannot be used is left alone. */
const TRY_AGAIN_MS = 2_000;

const ordinary: DevSurroundings = { cwd: process.cwd(), createConvoy };

/** Resolves when told to stop and everything has stopped; with `--once`, when everything is up to date. */
export async function runDev(flags: DevFlags, terminal: Terminal, around = ordinary): Promise<void> {
  const signalled = listenForSignals();
  const layout = layoutOf(flags, around.cwd);
  const env = new EnvFiles(layout.root, around.cwd);
  for (const file of env.load().loaded) terminal.detail(`loaded ${file}`);
  const stops: (() => Promise<void>)[] = [];
  try {
    const options = devOptionsOf(flags, process.env);
    const up = bringUp({ layout, flags, env, options, terminal, around, stops });
    const stopped = await Promise.race([up.then(() => null), signalled]);
    if (stopped === null && (options.watch || options.serve)) await signalled;
  } finally {
    await takeDown(stops, terminal);
  }
}

interface BringUp {
  readonly layout: ProjectLayout;
  readonly flags: DevFlags;
  readonly env: EnvFiles;
  readonly options: DevOptions;
  readonly terminal: Terminal;
  readonly around: DevSurroundings;
  /** What to stop, in the order in which it was started. */
  readonly stops: (() => Promise<void>)[];
}

async function bringUp({ layout, flags, env, options, terminal, around, stops }: BringUp): Promise<void> {
  // Before anything is started, so that nothing has to be stopped again.
  if (options.serve) await expectFreePort(options);
  let opened = existsSync(layout.stateFolder);
  stops.push(async () => {
    if (!opened) await removeUnusedState(layout);
  });
  if (await ensureSchema(layout)) terminal.done(`Made ${path.relative(layout.root, layout.schemaFile)}`);
  await prepareStateFolder(layout);
  const databaseUrl = () => devOptionsOf(flags, process.env).databaseUrl;
  let database: DevDatabase | null = null;
  stops.push(async () => database?.stop());

  let watcher: ProjectWatcher | null = null;
  const app = new DevApp({
    layout,
    terminal,
    prepare: async () => {
      if (database !== null && database.asked === databaseUrl()) return;
      await database?.stop();
      database = null;
      database = await openDatabase(databaseUrl(), layout, terminal);
    },
    open: async (program) => {
      const url = database?.url ?? '';
      return around.createConvoy({ program, databaseUrl: url, dev: true, createDatabase: true });
    },
    readEnv: (changed) => {
      if (!changed.some((file) => env.files.includes(file))) return { names: [], otherDatabase: false };
      const { changed: names } = env.load();
      return { names, otherDatabase: names.includes('DATABASE_URL') };
    },
    tryAgain: () => watcher?.callAgainIn(TRY_AGAIN_MS),
    onInputs: (files) => watcher?.follow(files),
    onOpened: async (convoy) => {
      opened = true;
      await show(convoy);
    },
  });
  stops.push(() => app.close());

  let at: ServeAt = options;
  let stopListing: (() => void) | null = null;
  stops.push(async () => stopListing?.());
  const show = async (convoy: Convoy) => {
    const rows: [string, string][] = [['Postgres', database?.shown ?? '']];
    if (options.serve) {
      const server = `${await serve(convoy, at)}/api`;
      // Should there be another database one day, clients find it at the same address.
      at = { host: options.host, port: convoy.address?.port ?? options.port };
      stopListing ??= listLiveOnRequest(server, terminal);
      rows.unshift(['Server', server]);
      rows.push(['Live queries', `type live and Enter, or ${server}/_live`]);
    }
    if (options.watch) rows.push(['Watching', path.relative(around.cwd, layout.convoyFolder) || layout.convoyFolder]);
    terminal.table(rows);
  };

  if (options.watch) {
    watcher = await watchProject(layout, (files) => app.refresh(files), env.files);
    stops.push(watcher.close);
  }
  try {
    await app.start();
  } catch (error) {
    if (watcher === null || !canBeWaitedFor(error, env)) throw error;
    app.report(error);
  }
}

/**
 * Whether something that is watched can put it right: code and `.env` can, and a database can be mended while this waits.
 * A URL that makes no sense and comes from the environment takes another start.
 */
function canBeWaitedFor(error: unknown, env: EnvFiles): boolean {
  const fault = databaseFault(error);
  if (fault !== null) return fault.kind !== 'wrong-url' || env.decides('DATABASE_URL');
  return (
    error instanceof CodeProblem || (isConvoyError(error) && error.code !== 'UNAVAILABLE' && error.code !== 'TIMEOUT')
  );
}

async function takeDown(stops: readonly (() => Promise<void>)[], terminal: Terminal): Promise<void> {
  if (stops.length === 0) return;
  await terminal.step('Stopping', async (step) => {
    for (const stop of [...stops].reverse()) await stop();
    step.result('Stopped');
  });
}
