/**
 * The operations that are kept or undone together: those of a whole call, and within it those of each
 * `ctx.db.transaction`. Knows what is still under way, what failed unseen, and what must not be kept.
 *
 * While a scope has an open one inside it, its own operations wait; else they would be undone with the inner one's.
 */

import { ConvoyError } from '../values/errors.js';
import { failed, ObservedPromise } from './observed-promise.js';

export class Scope {
  /** `null`: the call's own. */
  readonly parent: Scope | null;
  /** The newest `transaction` asked for in this scope and not yet over. What is issued now waits for it. */
  gate: Promise<unknown> | null = null;
  /** True once it was kept or undone; nothing can be issued in it any more. */
  ended = false;
  /** True once it is being undone: what still fails in it is nobody's loss. */
  undone = false;
  /** The savepoint to return to; `null` while nothing was written that would have to be undone. */
  savepoint: number | null = null;
  /** The `begin` of a transaction of its own, only in calls that have none; `null` before its first operation. */
  beginning: Promise<void> | null = null;
  /** Whether that transaction is open: begun, and not yet told to commit or to roll back. */
  isOpen = false;
  /** That transaction has lost to another write: it cannot be kept, and running it again may help. */
  lost: ConvoyError | null = null;
  /** Why this scope cannot be kept, whatever its function thinks of it. */
  #broken: { readonly why: unknown } | null = null;
  readonly #open = new Set<Promise<unknown>>();
  /** Writes that failed, some of which nobody may have looked at. */
  readonly #failures: ObservedPromise<unknown>[] = [];

  constructor(parent: Scope | null) {
    this.parent = parent;
  }

  /** True for `other` itself and every scope inside it. */
  isWithin(other: Scope): boolean {
    for (let scope: Scope | null = this; scope !== null; scope = scope.parent) if (scope === other) return true;
    return false;
  }

  /** The scope right below the call's own that this one is in; the call's own for itself. */
  get outermost(): Scope {
    let scope: Scope = this;
    while (scope.parent !== null && scope.parent.parent !== null) scope = scope.parent;
    return scope;
  }

  /** Counts `work` among what this scope waits for before it ends, and lets it fail unawaited. */
  track<T>(work: Promise<T>): Promise<T> {
    this.#open.add(work);
    const done = (): void => void this.#open.delete(work);
    work.then(done, done);
    return work;
  }

  /** The promise of a write, to be given to the handler: a failure nobody looks at is this scope's failure. */
  watch<T>(work: Promise<T>): Promise<T> {
    const watched = ObservedPromise.of(work);
    work.then(undefined, (why) => {
      watched.why = why;
      this.#failures.push(watched);
    });
    return watched;
  }

  /** A promise that fails with `error`; watched, because a refused write is a write lost. */
  refuse(error: unknown): Promise<never> {
    const watched = ObservedPromise.of<never>(failed(error));
    watched.why = error;
    this.#failures.push(watched);
    return watched;
  }

  /** From here on this scope can only be undone, or the one it is part of since it was kept. The first reason stays. */
  break(why: unknown): void {
    if (this.ended && !this.undone && this.parent !== null) this.parent.break(why);
    else this.#broken ??= { why };
  }

  /** Resolves when nothing is under way; `null` when nothing is. Fails with what this scope must not be kept for. */
  whenIdle(): Promise<void> | null {
    if (this.#broken !== null) return failed(this.#broken.why);
    const unseen = this.#failures.find((failure) => !failure.seen);
    if (unseen !== undefined) return failed(unseen.why);
    if (this.#open.size === 0) return null;
    return Promise.all(this.#open).then(() => undefined);
  }

  /** Resolves when everything issued so far is over, however it ended; `null` when nothing is under way. */
  whenSettled(): Promise<unknown> | null {
    return this.#open.size === 0 ? null : Promise.allSettled(this.#open);
  }
}

/** The refusal of what is issued in a scope that has ended. */
export const SCOPE_OVER = new ConvoyError(
  'INTERNAL',
  'ctx was used in a transaction that had ended, or in a function called by another that had returned. Await ' +
    'everything in there before it returns, and use its ctx and its database nowhere else.',
);
