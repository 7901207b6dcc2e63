/**
 * One run of one function: its call, scope, context and state.
 *
 * A root run owns its `Call` and ends it. A function called within a transaction joins the call of its caller: it runs
 * in an inner scope and ends with that scope, at the latest with its caller's run.
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
  /** The scope of its operations and of the functions it calls. */
  readonly scope: Scope;
  /** The number of nested function calls above this run. */
  readonly depth: number;
  /** The context of its handler, without the observing proxy, once made. Functions it calls receive the same. */
  context: object | null;
  /** Records which members of the context are read; `null` if they need not be recorded. */
  observer: ContextObserver | null;
  /** The run whose call this one joined, or `null`. */
  readonly #parent: Run | null;
  #endReason: ConvoyError | null = null;
  /** Rejects the pending promises of separate calls when the run ends before them. */
  #rejectOnEnd: Set<(reason: ConvoyError) => void> | null = null;
  /** Pending separate mutations and actions. They are not tracked by `call`: each has operations of its own. */
  #open: Set<Promise<unknown>> | null = null;

  /** A run that owns `call`, or, with `joined`, one that joins it. */
  constructor(program: Program, fn: NamedFunction, call: Call, { depth = 0, joined }: RunOptions = {}) {
    this.program = program;
    this.fn = fn;
    this.call = call;
    this.scope = joined?.scope ?? call.root;
    this.depth = depth;
    this.#parent = joined?.parent ?? null;
    this.context = joined?.parent.context ?? null;
    this.observer = joined?.parent.observer ?? null;
  }

  /** A run of `fn` that joins the call of this run, in `scope`. */
  join(fn: NamedFunction, scope: Scope): Run {
    return new Run(this.program, fn, this.call, { depth: this.depth + 1, joined: { parent: this, scope } });
  }

  /** Sets the context of this run and returns the `ctx` to pass to its handler. */
  enter(context: object): object {
    this.context = context;
    return this.observer === null ? context : this.observer.view(context);
  }

  /** Why this run's context can no longer be used; `null` while the run is active. */
  get endReason(): ConvoyError | null {
    return this.#parent === null ? this.#endReason : this.#parent.endReason;
  }

  /** Ends the run and its call. Without a reason: its handler has returned or thrown. */
  end(reason?: ConvoyError): void {
    if (this.#endReason !== null) return;
    this.#endReason = reason ?? RETURNED;
    this.call.end(reason);
    for (const reject of this.#rejectOnEnd ?? []) reject(this.#endReason);
    this.#rejectOnEnd = null;
  }

  /**
   * Settles as `work`, a separate call made by this run, or rejects with the end reason if the run ends first. The result
   * of `work` is then ignored.
   */
  orEnd<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#rejectOnEnd ??= new Set();
      this.#rejectOnEnd.add(reject);
      const done = (): void => void this.#rejectOnEnd?.delete(reject);
      work.then(resolve, reject).then(done, done);
    });
  }

  /** Makes the run wait for `work` before it ends. A rejection of `work` never ends the process. */
  track<T>(work: Promise<T>): Promise<T> {
    this.#open ??= new Set();
    this.#open.add(work);
    const done = (): void => void this.#open?.delete(work);
    work.then(done, done);
    return work;
  }

  /** Resolves when no work is pending; `null` when none is. Rejects with an unhandled failure. */
  whenIdle(): Promise<unknown> | null {
    const idle = this.call.whenIdle();
    if (idle !== null || this.#open === null || this.#open.size === 0) return idle;
    return Promise.all(this.#open);
  }
}

interface RunOptions {
  readonly depth?: number;
  /** The run whose call it joins, and the scope for it. */
  readonly joined?: { readonly parent: Run; readonly scope: Scope };
}

const RETURNED = new ConvoyError(
  'INTERNAL',
  'ctx was used after its function had returned. Await every ctx.runQuery, ctx.runMutation and ctx.runAction call ' +
    'before returning.',
);
