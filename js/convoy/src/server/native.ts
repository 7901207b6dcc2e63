/**
 * The engine's addon: what it offers, and where its binary is found. The only file that names either.
 *
 * Everything crosses as JSON text, and outcomes as data: neither side ever throws into the other.
 */

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import type { FunctionKind } from './functions.js';
import type { InsertOperation } from './operations.js';

/** The addon. */
export interface NativeModule {
  /** Connects the pools, prepares `_convoy`, starts the feed. Rejects with an Error whose message is `{code,message}`. */
  open(options: string): Promise<NativeEngine>;
  /**
   * Adds text to standard output (1) or standard error (2). Never waits and never fails: lines for which there is no room,
   * or that cannot be written, are dropped and counted, and long ones cut.
   */
  writeLog(stream: 1 | 2, text: string): void;
  /** Waits until what was written has gone out, at most so many milliseconds. */
  flushLog(most: number): void;
  /**
   * From now on SIGTERM, SIGINT and SIGHUP drain all engines of this process, which ends with the drain (ten seconds at
   * most) whatever JavaScript does, and at a second signal at once, with 130. `told` is called with the first.
   */
  handleSignals(told: (signal: NodeJS.Signals) => void): void;
  /** In a worker thread: works, as `worker`, for the engine that was shared under this number. */
  attach(engine: number, worker: number): NativeWorker;
}

/** What a thread that runs functions needs of an engine. */
export interface NativeCalls {
  /**
   * Calls a function of a `FunctionKind` in this process; resolves to the HTTP envelope and never rejects for an error of
   * the call. Trusted: it reaches internal functions. Asked of a worker, it runs there.
   */
  call(kind: string, name: string, input: string, request: string | null): Promise<string>;
  /** Sends one batch of a call's operations. Its results come back through `deliver` of kind 1. */
  operate(callId: number, batch: number, ops: string): void;
  /** Ends a call: its JSON result, or its error; and an `CallMetadata` as JSON, or `null`. */
  respond(callId: number, ok: boolean, text: string, rest: string | null): void;
  /** `n` new UUIDv7, each greater than every one before. */
  mintIds(n: number): string[];
}

/** An engine, for a worker thread. When the thread ends, so do its calls. */
export interface NativeWorker extends NativeCalls {
  /** From now on this thread runs functions of program `number`, whose pool is open. */
  join(number: number, deliver: Deliver): void;
}

/** A running engine. */
export interface NativeEngine extends NativeCalls {
  /** Syncs the schema where the program says so, then swaps the program; resolves to a `LoadReport`. */
  load(program: string, deliver: Deliver): Promise<string>;
  /** Gives the number worker threads attach by; `tell` is called with what their owner has to do. */
  share(tell: OnWorkerEvent): number;
  /** Makes room for the workers that have loaded program `number`. */
  openPool(number: number): void;
  /** As `load`, of a program that the workers of its pool run. */
  loadOnWorkers(program: string, number: number): Promise<string>;
  /** No worker joins this pool any more. */
  closePool(number: number): void;
  /** This worker gets no more calls of its program; `drained` is told once it has none. */
  drain(number: number, worker: number): void;
  /** The workers of this program that give no sign of life now. */
  silent(number: number): number[];
  /** Starts the HTTP listener; `{host,port}` in and out, port 0 for any. */
  listen(options: string): Promise<string>;
  /** Counters, as JSON. */
  stats(): string;
  /** Drains for at most 10 s, then stops everything. May be called again. */
  close(): Promise<void>;
}

/**
 * What the owner of worker threads is told: about a program, and one of its workers or 0.
 * - `silent`: none of them gives a sign of life; one more should come. `recovered`: that one does again.
 * - `stuck`: that one gives none after a call took too long there.
 * - `drained`: that one, which was to be drained, has no calls.
 * - `over`: other code is in place, and no call runs on this any more.
 */
export type OnWorkerEvent = (
  what: 'silent' | 'recovered' | 'stuck' | 'drained' | 'over',
  program: number,
  worker: number,
  reason: string,
) => void;

/** What an answer says beside its result. */
export interface CallMetadata {
  /** Inserts that were held back, to be made before the commit. Only with a result. */
  readonly held?: readonly InsertOperation[];
  /** Who asked, where the request was `keyed` and a context could be made. */
  readonly identity?: string;
  /** A query's: after how many milliseconds its answer is too old. */
  readonly refreshMs?: number;
  /**
   * What a query has looked at of its context, and of a context alone everything it says: by key the text of its value,
   * or `null` where it can be the same as no other. Absent where that is not known.
   */
  readonly seen?: Readonly<Record<string, string | null>>;
  /** A query's: when what its context says of the caller ceases to hold, in milliseconds since 1970. */
  readonly expiresAt?: number;
}

/** A function, as `load` is told of it. */
export interface FunctionDescription {
  /** `messages.list`. */
  readonly name: string;
  readonly kind: FunctionKind;
  /** Never answered to the network, which hears the same as of an unknown name. */
  readonly internal: boolean;
  /** Whether one run may serve several subscribers. */
  readonly share: boolean;
  /** False for a mutation that makes its own transactions, if any. An action's is true and says nothing. */
  readonly transaction: boolean;
}

/**
 * What the engine sends to JavaScript; see `DELIVERY`. `request` is JSON of who asks: a `ConvoyRequest`, which may also
 * say `keyed` (then the answer names an `identity`), or what this side gave to `call`. Large results come as the bytes of
 * their text.
 */
export type Deliver = (
  kind: number,
  callId: number,
  index: number,
  text: string | Buffer,
  request: string | null,
) => void;

/** The kinds of `Deliver`. */
export const DELIVERY = {
  /** Run function `index` with the input `text`. */
  call: 0,
  /** The results of batch `index`: an array of `{ok}` or `{error}`, in the order of its operations. */
  results: 1,
  /** The engine has given the call up, for the reason `text`; whatever it answers is ignored. */
  abandon: 2,
  /** Only make the context, and say by `seen` who asks; the result is `null`. */
  context: 3,
  /** Nothing to do: that the delivery has returned says that this thread gets to its deliveries. */
  ping: 4,
} as const;

/** What the engine says of a table. */
export interface TableReport {
  readonly holdsInserts: boolean;
  /** Whether it may hold documents. */
  readonly nonEmpty: boolean;
}

/** What loading a program did. */
export interface LoadReport {
  /** By table: whether a plain insert may wait for the next operation. */
  readonly tables: Readonly<Record<string, TableReport>>;
  /** `table messages`, `index messages.by_channel`, … */
  readonly created: readonly string[];
  readonly warnings: readonly string[];
  /** What the schema does not have any more, or Convoy has no use for. It is never dropped unasked. */
  readonly leftOver: readonly string[];
}

/** How long the end of the process waits for the log. */
const EXIT_FLUSH_MS = 250;

/** Where the addon would be on a machine. */
export interface Platform {
  readonly platform: string;
  readonly arch: string;
  /** Linux only: which C library Node was built for. */
  readonly libc: 'gnu' | 'musl' | null;
}

/** The platform this process runs on. */
export function currentPlatform(): Platform {
  return { platform: process.platform, arch: process.arch, libc: process.platform === 'linux' ? linuxLibc() : null };
}

/** `linux-x64-gnu`, `darwin-arm64`: the last part of the platform package's name. */
export function platformTag({ platform, arch, libc }: Platform): string {
  return libc === null ? `${platform}-${arch}` : `${platform}-${arch}-${libc}`;
}

/**
 * Loads the addon: from `CONVOY_NATIVE_PATH`, else from the platform's package, else from this repository. A binary
 * that is there but cannot be loaded is an error at once; nothing else is tried behind it.
 */
export function loadNative(platform: Platform = currentPlatform()): NativeModule {
  const require = createRequire(import.meta.url);
  const tag = platformTag(platform);
  const given = process.env.CONVOY_NATIVE_PATH;
  const inRepository = fileURLToPath(new URL(`../../../../npm/${tag}/convoy.node`, import.meta.url));
  const candidates = given ? [given] : [`@avvos/convoy-${tag}`, inRepository];
  for (const candidate of candidates) {
    try {
      const native = require(candidate) as NativeModule;
      flushLogAtExit(native);
      return native;
    } catch (error) {
      if (!isMissing(error, candidate)) {
        throw new Error(`Convoy's engine (${candidate}) could not be loaded: ${messageOf(error)}`, { cause: error });
      }
    }
  }
  throw new Error(
    given
      ? `CONVOY_NATIVE_PATH is ${given}, and there is no such file.`
      : `There is no Convoy engine for ${tag}: the package @avvos/convoy-${tag} is not installed. ` +
          'If your platform is supported, reinstall without --omit=optional (npm install); otherwise build the engine ' +
          'from source and set CONVOY_NATIVE_PATH to its convoy.node.',
  );
}

/** The process does not end before its last words are out, unless they do not go out. Once per process. */
function flushLogAtExit(native: NativeModule): void {
  if (!isMainThread || process.listeners('exit').some(({ name }) => name === 'flushConvoyLog')) return;
  process.on('exit', function flushConvoyLog() {
    native.flushLog(EXIT_FLUSH_MS);
  });
}

function isMissing(error: unknown, candidate: string): boolean {
  const { code, message } = error as { code?: unknown; message?: unknown };
  // A package that is there may itself miss a file, which is another error than not being there.
  return code === 'MODULE_NOT_FOUND' && String(message).includes(`'${candidate}'`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function linuxLibc(): 'gnu' | 'musl' {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  return report?.header?.glibcVersionRuntime === undefined ? 'musl' : 'gnu';
}
