/**
 * `createConvoy`: the engine with a user's functions in it, inside any Node program. Owns the engine's life: opens it,
 * loads programs into it one at a time, and closes it.
 */

import type { AnyActionRef, AnyMutationRef, AnyQueryRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import type { DataModelOf, SchemaDefinition } from '../schema/index.js';
import { argumentsJson } from './arguments.js';
import { arriving, outcomeIn } from './arrival.js';
import type { BaseContext, CreateContext } from './contexts.js';
import type { FunctionKind } from './functions.js';
import { Host } from './host.js';
import { type LoadReport, loadNative, type NativeEngine, type NativeModule } from './native.js';
import { describeProgram, type FunctionTree, type ProgramSource, prepareProgram } from './program.js';
import { QueryWatch } from './query-watch.js';

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
  readonly documentsRead?: number;
  /** Documents one call may write (16,000); `PAYLOAD_TOO_LARGE`. */
  readonly documentsWritten?: number;
  /** Calls that may wait for JavaScript (1,024); `UNAVAILABLE`. */
  readonly waitingCalls?: number;
  /** Live streams of this process (20,000); `UNAVAILABLE`. */
  readonly streams?: number;
  /** How long a client may take to send its headers, in milliseconds (10,000). */
  readonly headerMs?: number;
  /** How long a client may take to send its body, in milliseconds (30,000). */
  readonly bodyMs?: number;
  /** Between comments on a quiet stream, in milliseconds (15,000). */
  readonly heartbeatMs?: number;
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
  /** Development: messages and stacks of unexpected errors reach the client, and likely mistakes are warned of. */
  readonly dev?: boolean;
  /** Whether loading creates missing tables and indexes (it does, and never drops anything). */
  readonly sync?: boolean;
}

/** Everything `createConvoy` takes. */
export interface ConvoyOptions<Schema extends SchemaDefinition> extends EngineOptions {
  readonly schema: Schema;
  /** Functions by module: `{ messages: { list, send } }`, or `{ messages }` of an `import * as messages`. */
  readonly functions: FunctionTree;
  readonly createContext?: CreateContext<BaseContext<DataModelOf<Schema>>> | undefined;
}

/** What a call from inside the program may say beside its arguments. */
export interface CallOptions {
  /** Stands in for what `createContext` would have made; `db` and all else of the base is added. */
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
  load(source: ProgramSource): Promise<LoadReport>;
  /** What the last load did. */
  readonly loaded: LoadReport;
  /** Counters of the engine: `handlerRuns`, `liveQueries`, `subscribers`, …. */
  stats(): Readonly<Record<string, number>>;
  /** Lets calls in flight finish (at most 10 s) and stops. May be called again. */
  close(): Promise<void>;
}

/** Connects to the database, loads the functions, and resolves when calls can be made. */
export async function createConvoy<const Schema extends SchemaDefinition>(
  options: ConvoyOptions<Schema>,
): Promise<Convoy> {
  return openConvoy(loadNative(), options);
}

/** The same over a given addon; the seam where tests put a scripted engine. */
export async function openConvoy(native: NativeModule, options: ConvoyOptions<SchemaDefinition>): Promise<Convoy> {
  const { schema, functions, createContext, sync = true, ...engineOptions } = options;
  const source: ProgramSource = { schema, functions, createContext };
  // Whatever is wrong with the functions is said before a connection is made.
  describeProgram(source, { sync });
  const engine = await arriving(native.open(JSON.stringify(engineOptions)));
  const convoy = new RunningConvoy(engine, { sync, dev: options.dev === true });
  try {
    await convoy.load(source);
    return convoy;
  } catch (error) {
    await convoy.close();
    throw error;
  }
}

class RunningConvoy implements Convoy {
  readonly #engine: NativeEngine;
  readonly #host: Host;
  readonly #sync: boolean;
  /** Watches queries in development. */
  readonly #watch: QueryWatch | null;
  #address: ListenAddress | null = null;
  #loaded: LoadReport = { tables: {}, created: [], warnings: [], leftOver: [] };
  /** The load under way; loads never overlap. */
  #loading: Promise<unknown> = Promise.resolve();

  constructor(engine: NativeEngine, { sync, dev }: { readonly sync: boolean; readonly dev: boolean }) {
    this.#engine = engine;
    this.#host = new Host(engine);
    this.#sync = sync;
    this.#watch = dev ? new QueryWatch() : null;
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
    const address = JSON.parse(await arriving(this.#engine.listen(JSON.stringify({ host, port })))) as ListenAddress;
    this.#address = address;
    return address;
  }

  load(source: ProgramSource): Promise<LoadReport> {
    const swap = async (): Promise<LoadReport> => {
      const program = prepareProgram(source, { dev: this.#watch !== null, watch: this.#watch });
      const description = describeProgram(source, { sync: this.#sync });
      const text = await arriving(this.#engine.load(description, this.#host.deliverFor(program)));
      const report = JSON.parse(text) as LoadReport;
      program.holdsInserts = new Set(Object.keys(report.tables).filter((name) => report.tables[name]?.holdsInserts));
      this.#loaded = report;
      this.#watch?.renew();
      return report;
    };
    const result = this.#loading.then(swap, swap);
    this.#loading = result;
    return result;
  }

  stats(): Readonly<Record<string, number>> {
    return JSON.parse(this.#engine.stats()) as Record<string, number>;
  }

  async close(): Promise<void> {
    this.#address = null;
    try {
      await this.#engine.close();
    } finally {
      this.#watch?.close();
    }
  }

  async #call(kind: FunctionKind, name: string, args: unknown, options: CallOptions = {}): Promise<unknown> {
    const input = argumentsJson(args);
    if (options.context === undefined) return outcomeIn(await this.#engine.call(kind, name, input, null));
    const { request, forget } = this.#host.remember(options.context);
    try {
      return outcomeIn(await this.#engine.call(kind, name, input, request));
    } finally {
      forget();
    }
  }
}
