/**
 * `convoy dev`: database, code, server and watcher, brought up in this order and taken down in the opposite one.
 */
import path from 'node:path';
import { type Convoy, createConvoy } from '../../server/convoy.js';
import { ConvoyError, isConvoyError } from '../../values/errors.js';
import { ensureSchema } from '../code/files.js';
import { CodeProblem } from '../code/problem.js';
import { DevApp } from '../dev/app.js';
import { openDatabase, prepareStateFolder } from '../dev/database.js';
import { listLiveOnRequest } from '../dev/live-list.js';
import { expectFreePort, serve } from '../dev/serve.js';
import { listenForSignals } from '../dev/signals.js';
import { type ProjectWatcher, watchProject } from '../dev/watch.js';
import { loadEnvFiles } from '../env-files.js';
import { type DevFlags, type DevOptions, devOptionsOf, layoutOf, type ProjectLayout } from '../options.js';
import type { Terminal } from '../terminal.js';

/** The seams at which tests stand. */
export interface DevSurroundings {
  readonly cwd: string;
  readonly createConvoy: typeof createConvoy;
}

const ordinary: DevSurroundings = { cwd: process.cwd(), createConvoy };

/** Resolves when told to stop and everything has stopped; with `--once`, when everything is up to date. */
export async function runDev(flags: DevFlags, terminal: Terminal, around = ordinary): Promise<void> {
  const signalled = listenForSignals();
  const layout = layoutOf(flags, around.cwd);
  for (const file of loadEnvFiles(layout.root, around.cwd)) terminal.detail(`loaded ${file}`);
  const stops: (() => Promise<void>)[] = [];
  try {
    const options = devOptionsOf(flags, process.env);
    const up = bringUp({ layout, options, terminal, around, stops });
    const stopped = await Promise.race([up.then(() => null), signalled]);
    if (stopped === null && (options.watch || options.serve)) await signalled;
  } finally {
    await takeDown(stops, terminal);
  }
}

interface BringUp {
  readonly layout: ProjectLayout;
  readonly options: DevOptions;
  readonly terminal: Terminal;
  readonly around: DevSurroundings;
  /** What to stop, in the order in which it was started. */
  readonly stops: (() => Promise<void>)[];
}

async function bringUp({ layout, options, terminal, around, stops }: BringUp): Promise<void> {
  // Before anything is started, so that nothing has to be stopped again.
  if (options.serve) await expectFreePort(options);
  await prepareStateFolder(layout);
  if (await ensureSchema(layout)) terminal.done(`Made ${path.relative(layout.root, layout.schemaFile)}`);
  const database = await openDatabase(options.databaseUrl, layout, terminal);
  stops.push(() => database.stop());

  const engine = { databaseUrl: database.url, dev: true, createDatabase: true };
  let watcher: ProjectWatcher | null = null;
  const app = new DevApp({
    layout,
    terminal,
    open: async (program) => {
      try {
        return await around.createConvoy({ program, ...engine });
      } catch (error) {
        throw withDatabase(error, database.shown);
      }
    },
    onInputs: (files) => watcher?.follow(files),
    onOpened: (convoy: Convoy) => show(convoy),
  });
  stops.push(() => app.close());

  const show = async (convoy: Convoy) => {
    const rows: [string, string][] = [['Postgres', database.shown]];
    if (options.serve) {
      const server = `${await serve(convoy, options)}/api`;
      const stopListing = listLiveOnRequest(server, terminal);
      stops.push(async () => stopListing());
      rows.unshift(['Server', server]);
      rows.push(['Live queries', `type live and Enter, or ${server}/_live`]);
    }
    if (options.watch) rows.push(['Watching', path.relative(around.cwd, layout.convoyFolder) || layout.convoyFolder]);
    terminal.table(rows);
  };

  if (options.watch) {
    watcher = await watchProject(layout, (files) => app.refresh(files));
    stops.push(watcher.close);
  }
  try {
    await app.start();
  } catch (error) {
    if (watcher === null || !isAboutTheCode(error)) throw error;
    app.report(error);
  }
}

/** Saving other code can put it right; nothing else is worth watching for. */
function isAboutTheCode(error: unknown): boolean {
  return (
    error instanceof CodeProblem || (isConvoyError(error) && error.code !== 'UNAVAILABLE' && error.code !== 'TIMEOUT')
  );
}

/** A database that does not answer is best told by its address. */
function withDatabase(error: unknown, shown: string): unknown {
  if (!isConvoyError(error) || error.code !== 'UNAVAILABLE') return error;
  return new ConvoyError('UNAVAILABLE', `${shown}: ${error.message}`, { cause: error });
}

async function takeDown(stops: readonly (() => Promise<void>)[], terminal: Terminal): Promise<void> {
  if (stops.length === 0) return;
  await terminal.step('Stopping', async (step) => {
    for (const stop of [...stops].reverse()) await stop();
    step.result('Stopped');
  });
}
