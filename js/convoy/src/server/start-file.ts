/**
 * The behaviour of the generated `http.ts`: run as the main script it starts a server; imported it only exports functions
 * that do. Settings come from the environment (`DATABASE_URL`, `HOST`, `PORT`) unless the caller passes them.
 */

import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import { ConvoyError, isConvoyError } from '../values/errors.js';
import { type Convoy, createConvoy, type ListenAddress } from './convoy.js';
import { loadNative } from './native.js';
import type { EngineOptions } from './options.js';
import { redirectOutput } from './output.js';
import type { ProgramSource } from './program.js';

/** Settings of a server; missing ones come from the environment. */
export type StartOptions = Partial<EngineOptions> & Partial<ListenAddress>;

/** The source of a start file: the program, or a function that imports it on the thread that runs it. */
export type StartSource = ProgramSource | (() => Promise<ProgramSource>);

/** The exports of a start file. */
export interface StartFile {
  /** The source of the file; workers import the file and use this export. */
  readonly program: StartSource;
  /** Connects and loads, without listening. */
  createConvoyServer(options?: StartOptions): Promise<Convoy>;
  /** Connects, loads, listens, and closes on SIGTERM and SIGINT. */
  startConvoyServer(options?: StartOptions): Promise<Convoy>;
}

/** The exports of the start file at `url` (its `import.meta.url`); starts the server if that file is the main script. */
export function defineStartFile(url: string, source: StartSource): StartFile {
  const code = { url, source };
  const file: StartFile = {
    program: source,
    createConvoyServer: (options = {}) => create(code, options),
    startConvoyServer: (options = {}) => start(code, options),
  };
  if (!isMain(url)) return file;
  try {
    // Convoy owns this process, so its output may be redirected.
    redirectOutput(loadNative());
  } catch (error) {
    // The engine is missing; the message says what to do.
    console.error((error as Error).message);
    process.exitCode = 1;
    return file;
  }
  file.startConvoyServer().catch((error: unknown) => {
    // Errors of settings and of the database say what to do, and a stack does not help.
    console.error(isConvoyError(error) ? error.message : error);
    process.exitCode = 1;
  });
  return file;
}

/** A start file's source and address; workers import it by the address. */
interface StartCode {
  readonly url: string;
  readonly source: StartSource;
}

async function create({ url, source }: StartCode, options: StartOptions): Promise<Convoy> {
  const { host: _host, port: _port, databaseUrl = process.env.DATABASE_URL, ...engine } = options;
  if (!isMainThread) {
    throw new Error(
      `${url} starts a server when it is imported, but workers import it too. Start it in another module.`,
    );
  }
  if (!databaseUrl) {
    throw new ConvoyError(
      'INVALID_ARGS',
      'Set DATABASE_URL to the Postgres to use, such as postgres://user@localhost/app.',
    );
  }
  if (engine.workers !== 0) return createConvoy({ ...engine, databaseUrl, program: url });
  const program = typeof source === 'function' ? await source() : source;
  // They are limits of threads.
  const { resourceLimits: _limits, ...inThisThread } = engine;
  const { schema, functions, createContext, routes, rls, securitySchemes } = program;
  return createConvoy({ ...inThisThread, databaseUrl, schema, functions, createContext, routes, rls, securitySchemes });
}

async function start(code: StartCode, options: StartOptions): Promise<Convoy> {
  const { host = process.env.HOST || '0.0.0.0', port = parsePort(process.env.PORT) } = options;
  const convoy = await create(code, options);
  let address: ListenAddress;
  try {
    address = await convoy.listen({ host, port });
  } catch (error) {
    await convoy.close();
    throw error;
  }
  loadNative().handleSignals(() => exitAfterClose(convoy));
  console.log(
    `Convoy listens on http://${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`,
  );
  return convoy;
}

function parsePort(text: string | undefined): number {
  if (!text) return 3000;
  if (/^\d+$/.test(text) && Number(text) <= 65_535) return Number(text);
  throw new ConvoyError('INVALID_ARGS', `PORT is ${JSON.stringify(text)}; it must be a number from 0 to 65535.`);
}

/** Exits the process when `convoy` has closed. The engine drains already. */
function exitAfterClose(convoy: Convoy): void {
  convoy.close().then(
    () => process.exit(0),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
}

function isMain(url: string): boolean {
  const [, script] = process.argv;
  if (script === undefined || !url.startsWith('file:') || !isMainThread) return false;
  try {
    return realpathSync(script) === realpathSync(fileURLToPath(url));
  } catch {
    // The script is not a file (`node -e`, a virtual module of a loader), so it is not this one.
    return false;
  }
}
