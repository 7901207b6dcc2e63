/**
 * `createConvoy`: runs the engine with user functions inside a Node program. Owns the engine's lifecycle: opens it, loads
 * programs one at a time, and closes it.
 */

import type { ResourceLimits } from 'node:worker_threads';
import type { AnyActionRef, AnyMutationRef, AnyQueryRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import type { DataModelOf, SchemaDefinition } from '../schema/index.js';
import { argumentsJson } from './arguments.js';
import { backfillTable, type TableBackfill } from './backfill.js';
import { DEFAULT_MAX_RESULT_BYTES } from './bounded-json.js';
import type { BaseContext, CreateContext } from './contexts.js';
import { type DevAnswer, type DevRequest, type DevView, serveDevPage } from './dev-page.js';
import { rethrowAsConvoyError, unwrapEnvelope } from './engine-errors.js';
import { type Executor, type ExecutorOptions, InlineExecutor } from './executors.js';
import type { FunctionKind } from './functions.js';
import { type LoadReport, loadNative, type NativeEngine, type NativeModule } from './native.js';
import { explainListen } from './port-owner.js';
import { describeProgram, type FunctionTree, type ProgramSource } from './program.js';
import { isProgramModule, type ProgramModule } from './program-module.js';
import { SchemaCheck, type TableMisfits } from './schema-check.js';
import type { Standby } from './standby-worker.js';
import { watchQuery } from './watch.js';
import type { WorkerOptions } from './worker-group.js';
import { WorkerThreads } from './worker-threads.js';

/** Limits, each with its default and the error code for exceeding it. */
export interface ConvoyLimits {
  /** How long a query may take, in milliseconds (10,000); `TIMEOUT`. */
  readonly queryMs?: number;
  /** How long a mutation may take, retries included, in milliseconds (15,000); `TIMEOUT`. */
  readonly mutationMs?: number;
  /** How long an action may take, in milliseconds (600,000); `TIMEOUT`. */
  readonly actionMs?: number;
  /** How often a mutation is retried after a conflict with another write (4); `CONFLICT`. */
  readonly retries?: number;
  /** The largest request body, in bytes (1 MiB); `PAYLOAD_TOO_LARGE`. */
  readonly bodyBytes?: number;
  /** The largest result, in bytes (16 MiB); `PAYLOAD_TOO_LARGE`. */
  readonly resultBytes?: number;
  /** Documents one call may read (32,000); `PAYLOAD_TOO_LARGE`. */
  readonly maxDocumentsRead?: number;
  /** Documents one call may write (16,000); `PAYLOAD_TOO_LARGE`. */
  readonly maxDocumentsWritten?: number;
  /**
   * How long a worker may be unresponsive after a call on it timed out, in milliseconds (5,000); it is then replaced. If
   * functions run on the calling thread, which cannot be replaced, `/api/health` returns 503 after this time instead.
   */
  readonly workerUnresponsiveMs?: number;
  /** Calls that may wait for JavaScript (1,024); `UNAVAILABLE`. */
  readonly maxPendingCalls?: number;
  /** Live streams of this process (20,000); `UNAVAILABLE`. */
  readonly streams?: number;
  /** Live streams of one client address (64), as determined by `trustProxy`; `RATE_LIMITED`. */
  readonly streamsPerAddress?: number;
  /** Queries of one live stream (256); `PAYLOAD_TOO_LARGE`. */
  readonly queriesPerStream?: number;
  /** How often the context of a live stream is created again without other cause, in milliseconds (60,000). */
  readonly contextRefreshMs?: number;
  /** How long the result of a live query is kept after its last subscriber has left, in milliseconds (10,000). */
  readonly lingerMs?: number;
  /** How long a client may go without reading any of the data sent to it, in milliseconds (60,000). */
  readonly slowReaderMs?: number;
  /** The interval for polling a table without Convoy's triggers, in milliseconds (5,000). */
  readonly untrackedPollMs?: number;
  /** The interval for checking that the triggers exist, in milliseconds (15,000). */
  readonly triggerCheckMs?: number;
  /** How long a client may take to send its headers, in milliseconds (10,000). */
  readonly headerMs?: number;
  /** How long a client may take to send its body, in milliseconds (30,000). */
  readonly bodyMs?: number;
  /** The interval of heartbeat comments on an idle stream, in milliseconds (15,000). */
  readonly heartbeatMs?: number;
}

/** Other origins whose pages may call this server and read its responses. */
export interface CorsOptions {
  /** Each as browsers send it: `https://app.example`, `http://localhost:5173`. Compared exactly; `*` is not supported. */
  readonly origins: readonly string[];
  /** Whether their requests may carry cookies (false). */
  readonly credentials?: boolean;
}

/** Options of the engine, independent of the program. */
export interface EngineOptions {
  /** `postgres://user:password@host/database`. */
  readonly databaseUrl: string;
  /** Whether to create the database if the server does not have it (false). */
  readonly createDatabase?: boolean;
  /** Limits that differ from the defaults. */
  readonly limits?: ConvoyLimits;
  /** Connections to Postgres. */
  readonly poolSize?: number;
  /** The prefix of Convoy's paths (`/api`). */
  readonly basePath?: string;
  /**
   * Whether the server is behind a trusted proxy (false): the client's address is then the last one in `X-Forwarded-For`,
   * and the requested host is `X-Forwarded-Host`, if present.
   */
  readonly trustProxy?: boolean;
  /** Other origins that may call this server (none). */
  readonly cors?: CorsOptions;
  /** Development mode: sends messages and stacks of unexpected errors to the client, and warns about likely mistakes. */
  readonly dev?: boolean;
  /**
   * Whether loading creates missing tables and indexes (true). It never drops anything. `false` creates only Convoy's own
   * schema, and reports what is missing. `'require'` changes nothing, and rejects if anything is missing; `'inspect'`
   * changes nothing, and rejects only without Convoy's own schema.
   */
  readonly sync?: boolean | 'require' | 'inspect';
  /**
   * The number of worker threads that run functions (1 with `program`), so that a stuck thread can be replaced. 0 runs
   * functions on the thread that calls `createConvoy`, as for functions passed as values.
   */
  readonly workers?: number;
  /** Whether stacks in the log name source files, where the code has source maps (as `dev`). Only on worker threads. */
  readonly sourceMaps?: boolean;
  /** The limits of each worker thread, as in Node: `{ maxOldGenerationSizeMb: 512 }`. */
  readonly resourceLimits?: ResourceLimits;
}

/** Options of `createConvoy` for a program passed as values, whose functions run on the calling thread. */
export interface ConvoyOptions<Schema extends SchemaDefinition> extends EngineOptions {
  /** The result of `defineSchema`. */
  readonly schema: Schema;
  /** Functions by module: `{ messages: { list, send } }`, or `{ messages }` of an `import * as messages`. */
  readonly functions: FunctionTree;
  /** Creates the context of each call from its request. */
  readonly createContext?: CreateContext<BaseContext<DataModelOf<Schema>>> | undefined;
  /** Only in `ConvoyModuleOptions`. */
  readonly program?: undefined;
}

/** Options of `createConvoy` for a program given as a module, which is imported by default on a worker thread. */
export interface ConvoyModuleOptions extends EngineOptions, ProgramModule {}

/** Options of a call from inside the program. */
export interface CallOptions {
  /** Used instead of calling `createContext`; `db` and the rest of the base are added. Sent to workers as JSON. */
  readonly context?: object;
}

/** The address of the server. */
export interface ListenAddress {
  /** A name or an IP address; `0.0.0.0` are all IPv4 addresses. */
  readonly host: string;
  /** The port, 1 to 65535; in `listen`, 0 takes any free one. */
  readonly port: number;
}

/** A running Convoy. Its calls are trusted: they can reach internal functions. */
export interface Convoy {
  /** Runs a query; throws a `ConvoyError` if it fails. */
  query<Ref extends AnyQueryRef>(ref: Ref, args: ArgsOfRef<Ref>, options?: CallOptions): Promise<ResultOfRef<Ref>>;
  /** Runs a mutation; resolves once it is committed. */
  mutation<Ref extends AnyMutationRef>(
    ref: Ref,
    args: ArgsOfRef<Ref>,
    options?: CallOptions,
  ): Promise<ResultOfRef<Ref>>;
  /** Runs an action. */
  action<Ref extends AnyActionRef>(ref: Ref, args: ArgsOfRef<Ref>, options?: CallOptions): Promise<ResultOfRef<Ref>>;
  /** The results of a query, the first one at once and then each one that differs; a slow reader gets the newest. */
  watch<Ref extends AnyQueryRef>(
    ref: Ref,
    args: ArgsOfRef<Ref>,
    options?: CallOptions,
  ): AsyncIterableIterator<ResultOfRef<Ref>>;
  /** Starts the HTTP server; port 0 takes any free port. */
  listen(options?: Partial<ListenAddress>): Promise<ListenAddress>;
  /** The address of the server, or `null` before `listen`. */
  readonly address: ListenAddress | null;
  /**
   * Replaces the code atomically: live queries run again, calls in flight finish on the old code. If loading fails, the
   * old code stays.
   */
  load(source: ProgramSource | ProgramModule): Promise<LoadReport>;
  /**
   * In development: a thread that waits for the next program, so that `load` takes less time; started if there is none.
   * `null` if functions run on the calling thread.
   */
  standby(): Standby | null;
  /** In development: answers requests to `/_convoy`. `answer` must not reject. */
  serveDevPage(answer: (request: DevRequest, view: DevView) => Promise<DevAnswer>): void;
  /** The report of the last load. */
  readonly loaded: LoadReport;
  /**
   * Compares stored documents with the schema, all of a table or 10,000 random ones if there are more. Returns the tables
   * with documents that do not fit, cannot be represented in JavaScript, or look renamed.
   */
  checkDocuments(): Promise<readonly TableMisfits[]>;
  /**
   * Writes constant defaults into stored documents that lack the field, in batches. Documents that do not fit the schema
   * stay as they are, and are counted. `onProgress` is called after each batch.
   */
  backfill(onProgress?: (progress: TableBackfill) => void): Promise<readonly TableBackfill[]>;
  /** Counters of the engine: `handlerRuns`, `liveQueries`, `subscribers`, …. */
  stats(): Readonly<Record<string, number>>;
  /** Waits for calls in flight (at most 10 s) and stops. May be called repeatedly. */
  close(): Promise<void>;
}

/** Connects to the database, loads the functions, and resolves when Convoy is ready for calls. */
export async function createConvoy(options: ConvoyModuleOptions): Promise<Convoy>;
export async function createConvoy<const Schema extends SchemaDefinition>(
  options: ConvoyOptions<Schema>,
): Promise<Convoy>;
export async function createConvoy(options: ConvoyOptions<SchemaDefinition> | ConvoyModuleOptions): Promise<Convoy> {
  return openConvoy(loadNative(), options);
}

/**
 * The same with a given addon; tests pass a scripted engine. With `onlyLocal` it cannot listen, and `watch` reaches
 * internal functions.
 */
export async function openConvoy(
  native: NativeModule,
  options: ConvoyOptions<SchemaDefinition> | ConvoyModuleOptions,
  { onlyLocal = false }: { readonly onlyLocal?: boolean } = {},
): Promise<Convoy> {
  const { sync: requested = true, dev = false, sourceMaps = dev } = options;
  const sync = requested === true;
  const { source, workers, engineOptions } = partsOf(options);
  // Checks the functions before a connection is opened.
  if (!isProgramModule(source)) describeProgram(source, { sync });
  // The engine explains a missing URL as it does an empty one.
  const given = JSON.stringify({ ...engineOptions, databaseUrl: options.databaseUrl ?? '' });
  const engine = await rethrowAsConvoyError(native.open(given));
  // Not `console`, which belongs to the program: it may block on a slow reader, and a full disk would end the process.
  const log = (text: string): void => native.writeLog(2, `convoy: ${text}\n`);
  const resultBytes = options.limits?.resultBytes ?? DEFAULT_MAX_RESULT_BYTES;
  const executor = executorFor(engine, workers, { sync, dev, sourceMaps, resultBytes, onlyLocal }, log);
  const convoy = new RunningConvoy(engine, executor, { sync, log, onlyLocal });
  try {
    await convoy.load(source);
    return convoy;
  } catch (error) {
    await convoy.close();
    throw error;
  }
}

interface Parts {
  readonly source: ProgramSource | ProgramModule;
  /** `null` if functions run on this thread. */
  readonly workers: WorkerOptions | null;
  readonly engineOptions: object;
}

function partsOf(options: ConvoyOptions<SchemaDefinition> | ConvoyModuleOptions): Parts {
  const { workers, resourceLimits = {}, sync, sourceMaps: _maps, ...given } = options;
  const rest = typeof sync === 'string' ? { ...given, schemaPolicy: sync } : given;
  if (workers !== undefined && (!Number.isInteger(workers) || workers < 0)) {
    throw new RangeError(`workers is ${workers}; give a number of threads, or 0 to run functions in this one.`);
  }
  if (rest.program !== undefined) {
    const { program, ...engineOptions } = rest;
    const count = workers ?? 1;
    return { source: { program }, workers: count === 0 ? null : { count, resourceLimits }, engineOptions };
  }
  if (workers !== undefined && workers > 1) {
    throw new TypeError(
      `workers: ${workers} needs a module that each worker imports. Export schema, functions and createContext from one, ` +
        'and pass its address instead: ' +
        "createConvoy({ program: new URL('./program.js', import.meta.url), workers, … }).",
    );
  }
  const { schema, functions, createContext, program: _none, ...engineOptions } = rest;
  return { source: { schema, functions, createContext }, workers: null, engineOptions };
}

function executorFor(
  engine: NativeEngine,
  workers: WorkerOptions | null,
  options: ExecutorOptions,
  log: (text: string) => void,
): Executor {
  return workers === null
    ? new InlineExecutor(engine, options)
    : new WorkerThreads(engine, { ...workers, log }, options);
}

interface RunningOptions {
  readonly sync: boolean;
  /** Writes to the log of the process. */
  readonly log: (text: string) => void;
  /** Whether it may not listen. */
  readonly onlyLocal: boolean;
}

class RunningConvoy implements Convoy {
  readonly #engine: NativeEngine;
  readonly #executor: Executor;
  #address: ListenAddress | null = null;
  #loaded: LoadReport = { tables: {}, created: [], warnings: [], leftOver: [] };
  /** The last load; the next one waits for it. */
  #loading: Promise<unknown> = Promise.resolve();

  readonly #schemaCheck: SchemaCheck;
  /** Whether loading starts a check of stored documents. */
  readonly #checksOnLoad: boolean;

  readonly #onlyLocal: boolean;

  constructor(engine: NativeEngine, executor: Executor, { sync, log, onlyLocal }: RunningOptions) {
    this.#engine = engine;
    this.#executor = executor;
    this.#onlyLocal = onlyLocal;
    this.#checksOnLoad = sync;
    this.#schemaCheck = new SchemaCheck(async (name, input) => {
      const { request, release } = executor.registerContext({});
      try {
        return await engine.call('action', name, input, request);
      } finally {
        release();
      }
    }, log);
  }

  get address(): ListenAddress | null {
    return this.#address;
  }

  get loaded(): LoadReport {
    return this.#loaded;
  }

  async query<Ref extends AnyQueryRef>(ref: Ref, args: ArgsOfRef<Ref>, options?: CallOptions) {
    return (await this.#call('query', ref.name, args, options)) as ResultOfRef<Ref>;
  }

  async mutation<Ref extends AnyMutationRef>(ref: Ref, args: ArgsOfRef<Ref>, options?: CallOptions) {
    return (await this.#call('mutation', ref.name, args, options)) as ResultOfRef<Ref>;
  }

  async action<Ref extends AnyActionRef>(ref: Ref, args: ArgsOfRef<Ref>, options?: CallOptions) {
    return (await this.#call('action', ref.name, args, options)) as ResultOfRef<Ref>;
  }

  async *watch<Ref extends AnyQueryRef>(ref: Ref, args: ArgsOfRef<Ref>, options: CallOptions = {}) {
    const input = argumentsJson(args);
    const { request, release } =
      options.context === undefined
        ? { request: null, release: () => {} }
        : this.#executor.registerContext(options.context);
    try {
      yield* watchQuery(this.#engine, ref.name, input, request) as AsyncIterableIterator<ResultOfRef<Ref>>;
    } finally {
      release();
    }
  }

  async listen({ host = '127.0.0.1', port = 3000 }: Partial<ListenAddress> = {}): Promise<ListenAddress> {
    if (this.#onlyLocal) throw new Error('This Convoy does not listen: its internal functions would be reachable.');
    const listening = rethrowAsConvoyError(this.#engine.listen(JSON.stringify({ host, port })));
    const address = await listening.catch(async (error: unknown) => {
      throw await explainListen(error, port);
    });
    this.#address = JSON.parse(address) as ListenAddress;
    return this.#address;
  }

  load(source: ProgramSource | ProgramModule): Promise<LoadReport> {
    const swap = async (): Promise<LoadReport> => {
      this.#loaded = await this.#executor.load(source);
      if (this.#checksOnLoad) this.#schemaCheck.begin(this.#loaded);
      return this.#loaded;
    };
    const result = this.#loading.then(swap, swap);
    this.#loading = result;
    return result;
  }

  standby(): Standby | null {
    return this.#executor.standby();
  }

  serveDevPage(answer: (request: DevRequest, view: DevView) => Promise<DevAnswer>): void {
    serveDevPage(this.#engine, answer);
  }

  checkDocuments(): Promise<readonly TableMisfits[]> {
    return this.#schemaCheck.all(this.#loaded);
  }

  async backfill(onProgress?: (progress: TableBackfill) => void): Promise<readonly TableBackfill[]> {
    const done: TableBackfill[] = [];
    for (const [table, { nonEmpty }] of Object.entries(this.#loaded.tables).sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (!nonEmpty) continue;
      const call = (name: string, args: object) => this.#call('mutation', name, args, { context: {} });
      done.push(await backfillTable(call, table, onProgress));
    }
    return done;
  }

  stats(): Readonly<Record<string, number>> {
    return JSON.parse(this.#engine.stats()) as Record<string, number>;
  }

  async close(): Promise<void> {
    this.#address = null;
    this.#schemaCheck.stop();
    try {
      await this.#engine.close();
    } finally {
      await this.#executor.close();
    }
  }

  async #call(kind: FunctionKind, name: string, args: unknown, options: CallOptions = {}): Promise<unknown> {
    const input = argumentsJson(args);
    if (options.context === undefined) return unwrapEnvelope(await this.#engine.call(kind, name, input, null));
    const { request, release } = this.#executor.registerContext(options.context);
    try {
      return unwrapEnvelope(await this.#engine.call(kind, name, input, request));
    } finally {
      release();
    }
  }
}
