/**
 * `createConvoy`: the engine with a user's functions in it, inside any Node program. Owns the engine's life: opens it,
 * loads programs into it one at a time, and closes it.
 */

import type { ResourceLimits } from 'node:worker_threads';
import type { AnyActionRef, AnyMutationRef, AnyQueryRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import type { DataModelOf, SchemaDefinition } from '../schema/index.js';
import { argumentsJson } from './arguments.js';
import { DEFAULT_MAX_RESULT_BYTES } from './bounded-json.js';
import type { BaseContext, CreateContext } from './contexts.js';
import { rethrowAsConvoyError, unwrapEnvelope } from './engine-errors.js';
import { type Executor, type ExecutorOptions, InlineExecutor } from './executors.js';
import type { FunctionKind } from './functions.js';
import { type LoadReport, loadNative, type NativeEngine, type NativeModule } from './native.js';
import { describeProgram, type FunctionTree, type ProgramSource } from './program.js';
import { isProgramModule, type ProgramModule } from './program-module.js';
import { SchemaCheck, type TableMisfits } from './schema-check.js';
import type { WorkerOptions } from './worker-group.js';
import { WorkerThreads } from './worker-threads.js';

/** Published limits; what is left out keeps its default. Each has an error of its own. */
export interface ConvoyLimits {
  /** How long a query may take, in milliseconds (10,000); `TIMEOUT`. */
  readonly queryMs?: number;
  /** How long a mutation may take, retries included, in milliseconds (15,000); `TIMEOUT`. */
  readonly mutationMs?: number;
  /** How long an action may take, in milliseconds (600,000); `TIMEOUT`. */
  readonly actionMs?: number;
  /** How often a mutation runs again after losing to another write (4); `CONFLICT`. */
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
   * How long a worker may not answer once a call took too long there, in milliseconds (5,000); it is then replaced. Where
   * functions run in a thread that cannot be, `/api/health` answers 503 after as long without a sign of life.
   */
  readonly workerUnresponsiveMs?: number;
  /** Calls that may wait for JavaScript (1,024); `UNAVAILABLE`. */
  readonly maxPendingCalls?: number;
  /** Live streams of this process (20,000); `UNAVAILABLE`. */
  readonly streams?: number;
  /** Live streams of one client address (64), where `trustProxy` says what that is; `RATE_LIMITED`. */
  readonly streamsPerAddress?: number;
  /** Queries of one live stream (256); `PAYLOAD_TOO_LARGE`. */
  readonly queriesPerStream?: number;
  /** After how long the context of a live stream is made again whatever happens, in milliseconds (60,000). */
  readonly contextRefreshMs?: number;
  /** How long an answer is kept that nobody watches any more, in milliseconds (10,000). */
  readonly lingerMs?: number;
  /** How long a client may take nothing of what it is sent, in milliseconds (60,000). */
  readonly slowReaderMs?: number;
  /** Between two looks at a table that no trigger of Convoy's watches, in milliseconds (5,000). */
  readonly untrackedPollMs?: number;
  /** Between two looks at the triggers, in milliseconds (15,000). */
  readonly triggerCheckMs?: number;
  /** How long a client may take to send its headers, in milliseconds (10,000). */
  readonly headerMs?: number;
  /** How long a client may take to send its body, in milliseconds (30,000). */
  readonly bodyMs?: number;
  /** Between comments on a quiet stream, in milliseconds (15,000). */
  readonly heartbeatMs?: number;
}

/** Pages of other origins that may call this server and read its answers. */
export interface CorsOptions {
  /** Each as browsers send it: `https://app.example`, `http://localhost:5173`. Compared exactly; there is no `*`. */
  readonly origins: readonly string[];
  /** Whether their requests may carry cookies (they may not). */
  readonly credentials?: boolean;
}

/** What the engine itself is told, whatever program it runs. */
export interface EngineOptions {
  /** `postgres://user:password@host/database`. */
  readonly databaseUrl: string;
  /** Creates the database itself where the server does not have it (it does not). */
  readonly createDatabase?: boolean;
  readonly limits?: ConvoyLimits;
  /** Connections to Postgres. */
  readonly poolSize?: number;
  /** Where our paths begin (`/api`). */
  readonly basePath?: string;
  /**
   * A proxy of yours stands before: the client's address is the last one in `X-Forwarded-For`, and the host that its
   * page asked for is `X-Forwarded-Host`, where there is one (it is not).
   */
  readonly trustProxy?: boolean;
  /** Pages of other origins that may call and read (none). */
  readonly cors?: CorsOptions;
  /** Development: messages and stacks of unexpected errors reach the client, and likely mistakes are warned of. */
  readonly dev?: boolean;
  /** Whether loading creates missing tables and indexes (it does, and never drops anything). */
  readonly sync?: boolean;
  /**
   * Threads that run functions: 1 with `program`, which is what lets a thread that is stuck be replaced. 0 runs them in
   * the thread that calls `createConvoy`, as it is with functions given as values.
   */
  readonly workers?: number;
  /** What each of them may take, as Node has it: `{ maxOldGenerationSizeMb: 512 }`. */
  readonly resourceLimits?: ResourceLimits;
}

/** Everything `createConvoy` takes of a program whose functions run in the thread that calls it. */
export interface ConvoyOptions<Schema extends SchemaDefinition> extends EngineOptions {
  readonly schema: Schema;
  /** Functions by module: `{ messages: { list, send } }`, or `{ messages }` of an `import * as messages`. */
  readonly functions: FunctionTree;
  readonly createContext?: CreateContext<BaseContext<DataModelOf<Schema>>> | undefined;
  readonly program?: undefined;
}

/** Everything `createConvoy` takes of a program that is imported where its functions run: by default on a worker thread. */
export interface ConvoyModuleOptions extends EngineOptions, ProgramModule {}

/** What a call from inside the program may say beside its arguments. */
export interface CallOptions {
  /** Stands in for what `createContext` would have made; `db` and all else of the base is added. For workers, JSON. */
  readonly context?: object;
}

/** Where the server listens. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** A running Convoy. Its calls are trusted: they reach internal functions too. */
export interface Convoy {
  /** Runs a query; throws the `ConvoyError` it ends with. */
  query<Ref extends AnyQueryRef>(ref: Ref, args: ArgsOfRef<Ref>, options?: CallOptions): Promise<ResultOfRef<Ref>>;
  /** Runs a mutation; resolves once it is committed. */
  mutation<Ref extends AnyMutationRef>(
    ref: Ref,
    args: ArgsOfRef<Ref>,
    options?: CallOptions,
  ): Promise<ResultOfRef<Ref>>;
  /** Runs an action. */
  action<Ref extends AnyActionRef>(ref: Ref, args: ArgsOfRef<Ref>, options?: CallOptions): Promise<ResultOfRef<Ref>>;
  /** Starts the HTTP server; port 0 takes any that is free. */
  listen(options?: Partial<ListenAddress>): Promise<ListenAddress>;
  /** Where the server listens, or `null` before `listen`. */
  readonly address: ListenAddress | null;
  /**
   * Puts other code in place, all at once: live queries re-run, calls in flight finish on the old code. Where it
   * fails, the old code stays.
   */
  load(source: ProgramSource | ProgramModule): Promise<LoadReport>;
  /** What the last load did. */
  readonly loaded: LoadReport;
  /**
   * The stored documents that do not fit the schema, of all tables where there are any: all documents of a table, or
   * 10,000 random ones where there are more.
   */
  checkDocuments(): Promise<readonly TableMisfits[]>;
  /** Counters of the engine: `handlerRuns`, `liveQueries`, `subscribers`, …. */
  stats(): Readonly<Record<string, number>>;
  /** Lets calls in flight finish (at most 10 s) and stops. May be called again. */
  close(): Promise<void>;
}

/** Connects to the database, loads the functions, and resolves when calls can be made. */
export async function createConvoy(options: ConvoyModuleOptions): Promise<Convoy>;
export async function createConvoy<const Schema extends SchemaDefinition>(
  options: ConvoyOptions<Schema>,
): Promise<Convoy>;
export async function createConvoy(options: ConvoyOptions<SchemaDefinition> | ConvoyModuleOptions): Promise<Convoy> {
  return openConvoy(loadNative(), options);
}

/** The same over a given addon; the seam where tests put a scripted engine. */
export async function openConvoy(
  native: NativeModule,
  options: ConvoyOptions<SchemaDefinition> | ConvoyModuleOptions,
): Promise<Convoy> {
  const { sync = true, dev = false } = options;
  const { source, workers, engineOptions } = partsOf(options);
  // Whatever is wrong with the functions is said before a connection is made.
  if (!isProgramModule(source)) describeProgram(source, { sync });
  const engine = await rethrowAsConvoyError(native.open(JSON.stringify(engineOptions)));
  // Not by `console`, which is the program's own: it may wait for a reader, and ends the process where a disk is full.
  const log = (text: string): void => native.writeLog(2, `convoy: ${text}\n`);
  const resultBytes = options.limits?.resultBytes ?? DEFAULT_MAX_RESULT_BYTES;
  const threads = threadsFor(engine, workers, { sync, dev, resultBytes }, log);
  const convoy = new RunningConvoy(engine, threads, { sync, log });
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
  /** `null`: the functions run in this thread. */
  readonly workers: WorkerOptions | null;
  readonly engineOptions: object;
}

function partsOf(options: ConvoyOptions<SchemaDefinition> | ConvoyModuleOptions): Parts {
  const { workers, resourceLimits = {}, sync: _sync, ...rest } = options;
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
      `workers: ${workers} needs a module that each of them imports. Put schema, functions and createContext into one ` +
        'that exports them, and give its address instead: ' +
        "createConvoy({ program: new URL('./program.js', import.meta.url), workers, … }).",
    );
  }
  const { schema, functions, createContext, program: _none, ...engineOptions } = rest;
  return { source: { schema, functions, createContext }, workers: null, engineOptions };
}

function threadsFor(
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
  /** Says something in the log of the process. */
  readonly log: (text: string) => void;
}

class RunningConvoy implements Convoy {
  readonly #engine: NativeEngine;
  readonly #threads: Executor;
  #address: ListenAddress | null = null;
  #loaded: LoadReport = { tables: {}, created: [], warnings: [], leftOver: [] };
  /** The load under way; loads never overlap. */
  #loading: Promise<unknown> = Promise.resolve();

  readonly #schemaCheck: SchemaCheck;
  /** Whether documents are compared with the schema when code is loaded. */
  readonly #checks: boolean;

  constructor(engine: NativeEngine, threads: Executor, { sync, log }: RunningOptions) {
    this.#engine = engine;
    this.#threads = threads;
    this.#checks = sync;
    this.#schemaCheck = new SchemaCheck(async (name, input) => {
      const { request, release } = threads.registerContext({});
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

  async listen({ host = '127.0.0.1', port = 3000 }: Partial<ListenAddress> = {}): Promise<ListenAddress> {
    const address = JSON.parse(
      await rethrowAsConvoyError(this.#engine.listen(JSON.stringify({ host, port }))),
    ) as ListenAddress;
    this.#address = address;
    return address;
  }

  load(source: ProgramSource | ProgramModule): Promise<LoadReport> {
    const swap = async (): Promise<LoadReport> => {
      this.#loaded = await this.#threads.load(source);
      if (this.#checks) this.#schemaCheck.begin(this.#loaded);
      return this.#loaded;
    };
    const result = this.#loading.then(swap, swap);
    this.#loading = result;
    return result;
  }

  checkDocuments(): Promise<readonly TableMisfits[]> {
    return this.#schemaCheck.all(this.#loaded);
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
      await this.#threads.close();
    }
  }

  async #call(kind: FunctionKind, name: string, args: unknown, options: CallOptions = {}): Promise<unknown> {
    const input = argumentsJson(args);
    if (options.context === undefined) return unwrapEnvelope(await this.#engine.call(kind, name, input, null));
    const { request, release } = this.#threads.registerContext(options.context);
    try {
      return unwrapEnvelope(await this.#engine.call(kind, name, input, request));
    } finally {
      release();
    }
  }
}
