/** A run started by the engine: its caller, and the call metadata sent with its result. */

import type { AuthUser } from './auth.js';
import type { Held } from './batches.js';
import type { Call } from './call.js';
import { type ContextReads, NOT_PLAIN } from './context-observer.js';
import type { ConvoyRequest } from './contexts.js';
import { internalQuery } from './functions.js';
import type { CallMetadata } from './native.js';
import type { NamedFunction, Program } from './program.js';
import { Run } from './run.js';
import type { Turns } from './turns.js';

/** A request as the engine passes it, parsed. */
export interface RequestJson extends ConvoyRequest {
  /** The token of a context registered on this thread, for a call from inside the program. */
  readonly contextToken?: number;
  /** The context itself, for such a call from another thread. */
  readonly context?: object;
  /** The `auth` of that context. */
  readonly auth?: AuthJson;
  readonly keyed?: boolean;
  /** Set for a live query of this process without a context, which is not guarded. */
  readonly trusted?: boolean;
}

/** An `Auth` as it passes between threads. */
export interface AuthJson {
  readonly user: AuthUser | null;
}

/** The caller of a run. */
export interface Caller {
  /** `null` for a call from inside the program. */
  readonly request: ConvoyRequest | null;
  readonly inherited: InheritedContext | null;
  /** Whether the call metadata has to contain the caller's fingerprint. */
  readonly keyed: boolean;
  /** Whether access rules and row-level security hold for its call. */
  readonly guarded: boolean;
}

/** The context of a call made in this process. */
export interface InheritedContext {
  /** Used instead of calling `createContext`. */
  readonly context: object;
  /** The number of nested function calls above this call. */
  readonly depth: number;
  /** Whether access rules and row-level security hold for that call. */
  readonly guarded: boolean;
}

/** The caller of a call from inside the program without a context. It is trusted, so it is not guarded. */
export const NO_CALLER: Caller = { request: null, inherited: null, keyed: false, guarded: false };

/** The function of a call that only creates the context (`DELIVERY.context`). */
export const CONTEXT_ONLY: NamedFunction = {
  name: 'createContext',
  definition: internalQuery({ handler: () => null }),
};

export class RootRun extends Run {
  readonly caller: Caller;
  /** The caller's fingerprint, once computed. */
  fingerprint: string | null = null;
  /** Identifies the user of the context, for a run that only creates it. */
  user: string | null = null;
  /** When the credentials in its context expire, in milliseconds since 1970. */
  expiresAt: number | null = null;
  /** The turns of which this run has one, once it began. */
  turns: Turns | null = null;

  constructor(program: Program, fn: NamedFunction, call: Call, caller: Caller) {
    super(program, fn, call, caller.inherited === null ? {} : { depth: caller.inherited.depth });
    this.caller = caller;
  }

  /** The `CallMetadata` as JSON; `null` if it would be empty. */
  metadata(held: Held | null): string | null {
    const { call, fn, fingerprint, user } = this;
    const isQuery = fn.definition.kind === 'query';
    const refreshMs = isQuery ? call.refreshMs : null;
    const expiresAt = isQuery ? this.expiresAt : null;
    const reads = isQuery ? this.#contextReads() : null;
    const impure = call.isObserved && !call.isPure ? true : null;
    const unused = call.leftPrefetched ? true : null;
    const parts = [held, fingerprint, user, refreshMs, impure, unused, expiresAt, reads];
    if (parts.every((part) => part === null)) return null;
    const metadata: CallMetadata = {
      ...(fingerprint === null ? {} : { identity: fingerprint }),
      ...(user === null ? {} : { user }),
      ...(refreshMs === null ? {} : { refreshMs }),
      ...(impure === null ? {} : { impure }),
      ...(unused === null ? {} : { unused }),
      ...(expiresAt === null ? {} : { expiresAt }),
      ...(reads === null ? {} : { seen: Object.fromEntries(reads) }),
    };
    const json = JSON.stringify(metadata);
    if (held === null) return json;
    const member = `"${held.member}":${held.json}`;
    return json === '{}' ? `{${member}}` : `{${member},${json.slice(1)}`;
  }

  /** The context reads of the run; `null` if they are unknown or there is no context. */
  #contextReads(): ContextReads | null {
    if (!this.call.isShareable) return NOT_PLAIN;
    const reads = this.observer?.reads() ?? null;
    // A context-only call always reports reads, so that the engine can compare its context.
    return reads === null && this.fn === CONTEXT_ONLY && this.context !== null ? NOT_PLAIN : reads;
  }
}
