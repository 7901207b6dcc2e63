/** A run the engine called for: who asks, and what its answer says beside the result. */

import type { Call } from './call.js';
import { NOT_PLAIN, type Seen } from './context-observer.js';
import type { ConvoyRequest } from './contexts.js';
import { internalQuery } from './functions.js';
import type { AnswerRest } from './native.js';
import type { NamedFunction, Program } from './program.js';
import { Run } from './run.js';

/** What the JSON of a request may say. */
export interface RequestJson extends ConvoyRequest {
  /** Names what a call from inside the program has brought. */
  readonly contextToken?: number;
  /** A context such a call has brought from another thread. */
  readonly context?: object;
  readonly keyed?: boolean;
}

/** Who asks for a run, and what for. */
export interface Caller {
  /** `null` for a call from inside the program. */
  readonly request: ConvoyRequest | null;
  readonly brought: InheritedContext | null;
  /** Whether the answer has to say who asked. */
  readonly keyed: boolean;
}

/** What a call made in this process brings with it. */
export interface InheritedContext {
  /** Stands in for what `createContext` would have made. */
  readonly context: object;
  /** How many functions called one another to make this call. */
  readonly depth: number;
}

/** A call from inside the program that brings nothing. */
export const NO_CALLER: Caller = { request: null, brought: null, keyed: false };

/** Stands for the function of a call that is about the context alone. */
export const CONTEXT_ONLY: NamedFunction = {
  name: 'createContext',
  definition: internalQuery({ handler: () => null }),
};

export class CalledRun extends Run {
  readonly asking: Caller;
  /** Who asked, once that is known. */
  identity: string | null = null;
  /** When what its context says ceases to hold, in milliseconds since 1970. */
  expiresAt: number | null = null;

  constructor(program: Program, fn: NamedFunction, call: Call, asking: Caller) {
    super(program, fn, call, asking.brought === null ? {} : { depth: asking.brought.depth });
    this.asking = asking;
  }

  /** What its answer says beside the result: an `AnswerRest` as JSON, or `null` where that is nothing. */
  rest(held: string | null): string | null {
    const { call, fn, identity } = this;
    const isQuery = fn.definition.kind === 'query';
    const refreshMs = isQuery ? call.refreshMs : null;
    const expiresAt = isQuery ? this.expiresAt : null;
    const seen = isQuery ? this.#seen() : null;
    if (held === null && identity === null && refreshMs === null && expiresAt === null && seen === null) return null;
    const rest: AnswerRest = {
      ...(identity === null ? {} : { identity }),
      ...(refreshMs === null ? {} : { refreshMs }),
      ...(expiresAt === null ? {} : { expiresAt }),
      ...(seen === null ? {} : { seen: Object.fromEntries(seen) }),
    };
    const said = JSON.stringify(rest);
    if (held === null) return said;
    return said === '{}' ? `{"held":${held}}` : `{"held":${held},${said.slice(1)}`;
  }

  /** What it has looked at; `null` where nothing is known of it, or there is no context. */
  #seen(): Seen | null {
    if (!this.call.isShareable) return NOT_PLAIN;
    const seen = this.observer?.seen() ?? null;
    // A context alone says something in any case.
    return seen === null && this.fn === CONTEXT_ONLY && this.context !== null ? NOT_PLAIN : seen;
  }
}
