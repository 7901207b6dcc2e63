/**
 * The interface of the engine's native addon, which `addon.ts` finds. No other file names it.
 *
 * Values are passed as JSON text and errors as data: neither side throws into the other.
 */

import { isMainThread } from 'node:worker_threads';
import { requireAddon } from './addon.js';
import type { OwnLimits, RateLimit } from './function-limits.js';
import type { FunctionKind } from './functions.js';
import type { InsertOperation, PatchOperation } from './operations.js';
import type { LogFormat } from './options.js';
import type { LogLevel } from './telemetry/call-log.js';

/** The addon. */
export interface NativeModule {
  /** Connects the pools, prepares `_convoy`, starts the feed. Rejects with an Error whose message is `{code,message}`. */
  open(options: string): Promise<NativeEngine>;
  /**
   * Adds text to standard output (1) or standard error (2). Never blocks and never fails: lines that exceed the buffer or
   * cannot be written are dropped and counted, and long ones truncated. `functionName` has printed it, if known.
   */
  writeLog(stream: 1 | 2, text: string, functionName?: string): void;
  /** Sets the form of all lines of this process. */
  setLogFormat(format: LogFormat): void;
  /** Waits until the log has been written, for at most `timeoutMs`. */
  flushLog(timeoutMs: number): void;
  /**
   * From now on SIGTERM, SIGINT and SIGHUP drain all engines of this process. The process exits after the drain (at most
   * ten seconds), even if JavaScript is blocked, and at a second signal at once, with code 130. `onSignal` is called at
   * the first signal.
   */
  handleSignals(onSignal: (signal: NodeJS.Signals) => void): void;
  /** The steps that a database needs for a schema, as `pending` of a `LoadReport`; both are JSON. Changes nothing. */
  planMigration(options: string, schema: string): Promise<string>;
  /** Executes these steps; resolves to a `LoadReport`. */
  applyMigration(options: string, schema: string): Promise<string>;
  /** In a worker thread: attaches to the engine shared under the number `engine`, as worker number `worker`. */
  attach(engine: number, worker: number): NativeWorker;
}

/** The engine's methods for a thread that runs functions. */
export interface NativeCalls {
  /**
   * Calls a function of a `FunctionKind` in this process; resolves to the HTTP envelope and never rejects for an error of
   * the call. Trusted: it reaches internal functions. Called on a worker, the function runs on that worker. `traceparent`
   * is the span of the run that calls, if it has one.
   */
  call(kind: string, name: string, input: string, request: string | null, traceparent: string | null): Promise<string>;
  /** Sends one batch of a call's operations. Its results are delivered with the kind `DELIVERY.results`. */
  operate(callId: number, batch: number, ops: string): void;
  /** The span of a call that runs, as a `traceparent`; `null` if traces are not recorded. */
  traceparent(callId: number): string | null;
  /** Ends a call with its JSON result or error, and a `CallMetadata` as JSON, or `null`. */
  respond(callId: number, ok: boolean, text: string, metadata: string | null): void;
  /** Writes a line to the log, for the function of a call; `fields` is a JSON object. Never waits. */
  log(callId: number, level: LogLevel, functionName: string, message: string, fields: string | null): void;
  /** `n` new UUIDv7s, each greater than all before. */
  mintIds(n: number): string[];
  /** The next chunk of the request body of a route; `null` at its end. Rejects if the body does not arrive whole. */
  readBody(callId: number): Promise<Buffer | null>;
  /** Starts the response of a route: `{status,headers}` as JSON, headers as pairs; with `body`, that is all of it. */
  beginResponse(callId: number, head: string, body: Buffer | null): void;
  /** Sends a chunk of a response without a whole body. Resolves when it was taken; to false if no more are. */
  writeResponse(callId: number, chunk: Buffer): Promise<boolean>;
  /** Resolves to true when the client of a route has left, and to false when the route has ended. */
  clientGone(callId: number): Promise<boolean>;
}

/** An engine as seen by a worker thread. The calls of the thread end with it. */
export interface NativeWorker extends NativeCalls {
  /** Joins the open pool of program `number`; this thread then runs its functions. */
  join(number: number, deliver: Deliver): void;
}

/** A running engine. */
export interface NativeEngine extends NativeCalls {
  /** Syncs the schema if the program's `sync` is true, then replaces the program; resolves to a `LoadReport`. */
  load(program: string, deliver: Deliver): Promise<string>;
  /** Returns the number by which worker threads attach; `onEvent` receives the events about them. */
  share(onEvent: OnWorkerEvent): number;
  /** Opens the pool of the workers that run program `number`. */
  openPool(number: number): void;
  /** As `load`, for a program that the workers of its pool run. */
  loadOnWorkers(program: string, number: number): Promise<string>;
  /** Closes the pool; no further worker can join it. */
  closePool(number: number): void;
  /** Sends this worker no further calls; the event `drained` follows when its last call has ended. */
  drain(number: number, worker: number): void;
  /** The workers of this program that are unresponsive now. */
  unresponsiveWorkers(number: number): number[];
  /** Starts the HTTP listener; `{host,port}` in and out, port 0 for any. */
  listen(options: string): Promise<string>;
  /**
   * Passes a request of another HTTP server. `head` is JSON; the body is `whole`, in `bytes`, or will be `pushed`, or the
   * request is an `upgrade`. `null` if the path is not one of Convoy's.
   */
  exchange(head: string, body: 'whole' | 'pushed' | 'upgrade', bytes: Buffer | null): NativeExchange | null;
  /** Subscribes to a query that clients may call; `request` as for `call`. */
  watch(name: string, input: string, request: string | null): Promise<NativeWatch>;
  /** Calls `onEvents` with batches of `ConvoyEvent`s, as JSON, each after `eventsTaken`. The first call counts. */
  readEvents(onEvents: (batch: string) => void): void;
  eventsTaken(): void;
  /** Serves `/_convoy` in development: `onRequest` is called with each request. */
  serveDevPage(onRequest: OnDevRequest): void;
  /** Answers such a request. */
  answerDevRequest(id: number, status: number, contentType: string, body: string): void;
  /** The lines that this process has printed after the first `seen`, as JSON. Kept since `serveDevPage`. */
  recentLines(seen: number): string;
  /** Describes the live queries, as JSON. */
  liveOverview(): string;
  /** Counters, as JSON. */
  stats(): string;
  /** Drains for at most 9 s, then stops everything. May be called again. */
  close(): Promise<void>;
}

export type OnDevRequest = (
  id: number,
  method: string,
  path: string,
  authorization: string | null,
  body: string,
) => void;

/** A request of another HTTP server, and its response. */
export interface NativeExchange {
  /** Adds a chunk to the body or the upgraded connection. `full`: it was not taken; push it again after `room`. */
  push(chunk: Buffer): 'accepted' | 'full' | 'closed';
  room(): Promise<void>;
  end(): void;
  /** Ends the body with the reason that the rest is missing. */
  fail(reason: string): void;
  /** Resolves to the start of the response, with the whole body if that is no stream; `null` once closed. */
  respond(): Promise<{ readonly head: string; readonly body: Buffer } | null>;
  /**
   * The next chunk of a stream or of the upgraded connection; `null` at the end. Not before the last has resolved. Rejects
   * if the stream has failed: break off the connection.
   */
  pull(): Promise<Buffer | null>;
  close(): void;
}

/** A subscription of this process. */
export interface NativeWatch {
  /** The envelope of the next result or error; `null` at the end. Call it again only after it has resolved. */
  next(): Promise<string | null>;
  /** Ends the subscription; a pending or the following `next` resolves to `null`. */
  close(): void;
}

/**
 * Receives the events about worker threads, each about a program and one of its workers, or 0.
 * - `allUnresponsive`: no worker of the program is responsive; start a spare. `recovered`: this worker is responsive again.
 * - `stuck`: this worker is unresponsive after a call on it timed out.
 * - `drained`: this worker was being drained and has no calls left.
 * - `retired`: the program was replaced, and its last call has ended.
 */
export type OnWorkerEvent = (
  event: 'allUnresponsive' | 'recovered' | 'stuck' | 'drained' | 'retired',
  program: number,
  worker: number,
  reason: string,
) => void;

/** The data sent to the engine beside the result of a call. */
export interface CallMetadata {
  /** Held inserts, to be executed before the commit. Only with a result. */
  readonly held?: readonly InsertOperation[];
  /** Held writes that are not only inserts, to be executed before the commit. Only with a result. */
  readonly writes?: readonly (InsertOperation | PatchOperation)[];
  /** The caller's fingerprint, if the request was `keyed` and a context could be created. */
  readonly identity?: string;
  /** For a query: the time after which its result is stale. */
  readonly refreshMs?: number;
  /** For an observed query: the result depends on something that changes without a write. */
  readonly impure?: true;
  /** The function has not begun with the prefetched operations. */
  readonly unused?: true;
  /**
   * The context members a query has read (for `DELIVERY.context`, all members): by key the canonical text of the value,
   * or `null` if it equals no other. Absent if the reads are unknown.
   */
  readonly seen?: Readonly<Record<string, string | null>>;
  /** For a query: when the credentials in its context expire, in milliseconds since 1970. */
  readonly expiresAt?: number;
  /** For `DELIVERY.context`: identifies the user of `ctx.auth`, if one is signed in. */
  readonly user?: string;
}

/** The description of a function for `load`. */
export interface FunctionDescription {
  /** `messages.list`. */
  readonly name: string;
  /** The kind of the function. */
  readonly kind: FunctionKind;
  /** Not callable from the network, where it is answered like an unknown name. */
  readonly internal: boolean;
  /** Whether one run may serve several subscribers. */
  readonly share: boolean;
  /** `false` for a query whose results clients must not store; the engine ignores it. */
  readonly persist?: false;
  /** A method beside POST by which a query can be called. */
  readonly http?: 'GET';
  /** `false` for a query whose calls always run. */
  readonly resultCache?: false;
  /** For how many seconds shared caches may keep an answer of such a query. */
  readonly cache?: { readonly maxAge: number };
  /** How often one caller may call it. */
  readonly rateLimit?: RateLimit;
  /** The limits that differ from those of the engine. */
  readonly limits?: OwnLimits;
  /** False for a mutation with `transaction: false`. True for an action, but without meaning. */
  readonly transaction: boolean;
}

/**
 * Receives deliveries of the engine; see `DELIVERY` for the kinds. `request` is the JSON of a `ConvoyRequest`, which may
 * also contain `keyed` (the response must then have an `identity`), or the `request` passed to `call` in this process.
 * Large results are passed as the bytes of their text. The prefetched operations are those with which a function probably
 * begins: if its first batch has the same text, it is answered by the prefetched answers in place of being sent.
 */
export type Deliver = (
  kind: number,
  callId: number,
  index: number,
  text: string | Buffer,
  request: string | null,
  prefetchedOps?: string | null,
  prefetchedAnswers?: string | null,
) => void;

/** The kinds of `Deliver`. */
export const DELIVERY = {
  /** Run function `index` with the input `text`. */
  call: 0,
  /** The results of batch `index`: an array of `{ok}` or `{error}`, in the order of its operations. */
  results: 1,
  /** The engine has abandoned the call, for the reason `text`; its response is ignored. */
  abandon: 2,
  /** Only create the context and report all its members in `seen`; the result is `null`. */
  context: 3,
  /** Run route `index`; `text` has what it needs beside the `request`. The result is `null`. */
  route: 5,
  /** A no-op whose return shows the engine that this thread is responsive. */
  ping: 4,
  /** The results of batches of several calls, each delivered in its turn; `text` is the JSON of `Turn[]`. */
  turns: 7,
  /** As `call`, and the response says if the result depends on anything that changes without a write. */
  observedCall: 6,
} as const;

/** The part of a load report about one table. */
export interface TableReport {
  readonly holdsWrites: boolean;
  /** Whether the table may contain documents. */
  readonly nonEmpty: boolean;
}

/** A step of a migration. */
export interface PlannedStep {
  /** `system`: Convoy's own schema. `cleanup`: drops the invalid index of a failed build. */
  readonly kind: 'system' | 'table' | 'index' | 'cleanup' | 'triggers';
  /** `index messages.by_room` */
  readonly name: string;
  /** The statements, for people to read. */
  readonly sql: readonly string[];
  /** Of an index: whether two documents may not have the same values. */
  readonly unique: boolean;
  /** Of an index: whether the table can be written while it is built. */
  readonly concurrently: boolean;
  /** Of an index over stored documents: their estimated number; `null` if that is unknown. */
  readonly rows: number | null;
  /** Of a unique index: the number of values that several documents have, 1,000 at most; `null` if it is unknown. */
  readonly duplicates: number | null;
}

/** The result of loading a program. */
export interface LoadReport {
  /** By table name. `holdsWrites`: whether a write may be held until the next operation. */
  readonly tables: Readonly<Record<string, TableReport>>;
  /** `table messages`, `index messages.by_channel`, … */
  readonly created: readonly string[];
  /** Conditions that need attention, such as a missing trigger or privilege, each with its remedy. */
  readonly warnings: readonly string[];
  /** Tables and indexes that are not in the schema any more, or not used by Convoy. Convoy never drops them by itself. */
  readonly leftOver: readonly string[];
  /** The steps that a migration would execute; only in a plan. */
  readonly pending?: readonly PlannedStep[];
  /**
   * When the program was in place, in milliseconds after the engine began to load it; only if that was before the schema
   * sync.
   */
  readonly swappedAfterMs?: number;
  /** The times that a program on workers took until it was imported, and until it was in place. */
  readonly took?: { readonly importMs: number; readonly swapMs: number };
}

/** The maximum time that process exit waits for the log. */
const EXIT_FLUSH_MS = 250;

/**
 * Loads the addon of this platform. Throws an Error that names platform and package, and what to do, if there is none.
 * Every entry that needs the engine calls this before it starts anything else.
 */
export function loadNative(): NativeModule {
  const native = requireAddon() as NativeModule;
  flushLogAtExit(native);
  return native;
}

/** Makes process exit wait, for a limited time, until the log is written. Registered once per process. */
function flushLogAtExit(native: NativeModule): void {
  if (!isMainThread || process.listeners('exit').some(({ name }) => name === 'flushConvoyLog')) return;
  process.on('exit', function flushConvoyLog() {
    native.flushLog(EXIT_FLUSH_MS);
  });
}
