/**
 * One run of one function: who it is, what it belongs to, and whether it is over.
 *
 * A run called from outside owns its `Call` and ends it. A function called within a transaction joins its caller's call,
 * as a run in a scope of its own; it ends with that scope, and with its caller's run at the latest.
 */

import { ConvoyError } from '../values/errors.js';
import type { Call } from './call.js';
import type { ContextObserver } from './context-observer.js';
import type { NamedFunction, Program } from './program.js';
import type { Scope } from './scope.js';

export class Run {
  readonly program: Program;
  readonly fn: NamedFunction;
  readonly call: Call;
  /** What its operations, and the functions it calls, are kept or undone with. */
  readonly scope: Scope;
  /** How many functions called one another to get here. */
  readonly depth: number;
  /** What its handler is given, once that is made and unobserved; the functions it calls are given the same. */
  context: object | null;
  /** Notes what is looked at of the context, where somebody wants to know. */
  observer: ContextObserver | null;
  /** The run whose call this one joined, or `null`. */
  readonly #caller: Run | null;
  #why: ConvoyError | null = null;
  /** Those who wait for calls of their own, and are told when the run ends before them. */
  #waiting: Set<(why: ConvoyError) => void> | null = null;
  /** Calls of its own that change something. Not the call's business: they have operations and an end of their own. */
  #open: Set<Promise<unknown>> | null = null;

  /** A run that owns `call`, unless it joined. */
  constructor(program: Program, fn: NamedFunction, call: Call, { depth = 0, joined }: RunOptions = {}) {
    this.program = program;
    this.fn = fn;
    this.call = call;
    this.scope = joined?.scope ?? call.root;
    this.depth = depth;
    this.#caller = joined?.caller ?? null;
    this.context = joined?.caller.context ?? null;
    this.observer = joined?.caller.observer ?? null;
  }

  /** A run of `fn` that joins the call of this one, in `scope`. */
  join(fn: NamedFunction, scope: Scope): Run {
    return new Run(this.program, fn, this.call, { depth: this.depth + 1, joined: { caller: this, scope } });
  }

  /** `context` for this run: what its handler is given as `ctx`. */
  enter(context: object): object {
    this.context = context;
    return this.observer === null ? context : this.observer.view(context);
  }

  /** Why nothing can be asked of this run's context any more; `null` while it runs. */
  get why(): ConvoyError | null {
    return this.#caller === null ? this.#why : this.#caller.why;
  }

  /** Ends the run and its call; without a reason because its handler has returned or thrown. */
  end(why?: ConvoyError): void {
    if (this.#why !== null) return;
    this.#why = why ?? RETURNED;
    this.call.end(why);
    for (const leave of this.#waiting ?? []) leave(this.#why);
    this.#waiting = null;
  }

  /**
   * `work`, which is a call of its own made by this run; or why the run ended, where that comes first. How `work` ends
   * then concerns nobody any more.
   */
  orEnd<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting ??= new Set();
      this.#waiting.add(reject);
      const done = (): void => void this.#waiting?.delete(reject);
      work.then(resolve, reject).then(done, done);
    });
  }

  /** Counts `work` among what the run waits for before it ends, and lets it fail unawaited. */
  track<T>(work: Promise<T>): Promise<T> {
    this.#open ??= new Set();
    this.#open.add(work);
    const done = (): void => void this.#open?.delete(work);
    work.then(done, done);
    return work;
  }

  /** Resolves when nothing is under way; `null` when nothing is. Fails with what failed unseen. */
  whenIdle(): Promise<unknown> | null {
    const idle = this.call.whenIdle();
    if (idle !== null || this.#open === null || this.#open.size === 0) return idle;
    return Promise.all(this.#open);
  }
}

interface RunOptions {
  readonly depth?: number;
  /** The run whose call it joins, and where in it. */
  readonly joined?: { readonly caller: Run; readonly scope: Scope };
}

const RETURNED = new ConvoyError(
  'INTERNAL',
  'ctx was used after its function had returned. Await what ctx.runQuery, ctx.runMutation and ctx.runAction give ' +
    'before returning.',
);
