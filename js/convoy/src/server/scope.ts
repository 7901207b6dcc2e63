/**
 * A scope: operations that are kept or rolled back together, either those of a whole call or, nested in it, those of one
 * `ctx.db.transaction`. Tracks pending work, unhandled failures, and whether the scope has to be rolled back.
 *
 * While a scope has an open inner scope, its own operations wait; otherwise a rollback of the inner one would include
 * them.
 */

import { ConvoyError } from '../values/errors.js';
import { ObservedPromise, rejected } from './observed-promise.js';

export class Scope {
  /** `null` for the root scope of the call. */
  readonly parent: Scope | null;
  /** The last pending `transaction` started in this scope. Operations issued now wait for it. */
  gate: Promise<unknown> | null = null;
  /** True once the scope was kept or rolled back; it accepts no further operations. */
  ended = false;
  /** True from the start of its rollback. A later failure in it no longer fails the parent. */
  rolledBack = false;
  /** The savepoint to roll back to; `null` before the first write. */
  savepoint: number | null = null;
  /** The pending or completed `begin`, only in calls without a transaction; `null` before the first operation. */
  beginning: Promise<void> | null = null;
  /** Whether that transaction is open: begun, with neither `commit` nor `rollback` sent. */
  isOpen = false;
  /** The serialization failure or deadlock that ended that transaction; a retry may succeed. */
  conflict: ConvoyError | null = null;
  /** Set when the scope can only be rolled back, even if its function returns normally. */
  #aborted: { readonly reason: unknown } | null = null;
  readonly #open = new Set<Promise<unknown>>();
  /** Failed writes, handled or not. */
  readonly #failures: ObservedPromise<unknown>[] = [];

  constructor(parent: Scope | null) {
    this.parent = parent;
  }

  /** True for `other` itself and every scope inside it. */
  isWithin(other: Scope): boolean {
    for (let scope: Scope | null = this; scope !== null; scope = scope.parent) if (scope === other) return true;
    return false;
  }

  /** The ancestor (or this scope) whose parent is the root scope; the root scope for itself. */
  get outermost(): Scope {
    let scope: Scope = this;
    while (scope.parent !== null && scope.parent.parent !== null) scope = scope.parent;
    return scope;
  }

  /** Makes the scope wait for `work` before it ends. A rejection of `work` never ends the process. */
  track<T>(work: Promise<T>): Promise<T> {
    this.#open.add(work);
    const done = (): void => void this.#open.delete(work);
    work.then(done, done);
    return work;
  }

  /** Wraps the promise of a write for the handler: an unhandled rejection fails this scope. */
  observe<T>(work: Promise<T>): Promise<T> {
    const observed = ObservedPromise.of(work);
    work.then(undefined, (reason) => {
      observed.reason = reason;
      this.#failures.push(observed);
    });
    return observed;
  }

  /** A promise rejected with `error` for a write that was not sent; observed like any other write. */
  rejectWrite(error: unknown): Promise<never> {
    const observed = ObservedPromise.of<never>(rejected(error));
    observed.reason = error;
    this.#failures.push(observed);
    return observed;
  }

  /** Marks the scope for rollback, or its parent if the scope was kept already. The first reason is kept. */
  abort(reason: unknown): void {
    if (this.ended && !this.rolledBack && this.parent !== null) this.parent.abort(reason);
    else this.#aborted ??= { reason };
  }

  /** Resolves when no work is pending; `null` when none is. Rejects with the reason why the scope cannot be kept. */
  whenIdle(): Promise<void> | null {
    if (this.#aborted !== null) return rejected(this.#aborted.reason);
    const unhandled = this.#failures.find((failure) => !failure.handled);
    if (unhandled !== undefined) return rejected(unhandled.reason);
    if (this.#open.size === 0) return null;
    return Promise.all(this.#open).then(() => undefined);
  }

  /** Resolves when all work issued so far has settled; `null` when no work is pending. */
  whenSettled(): Promise<unknown> | null {
    return this.#open.size === 0 ? null : Promise.allSettled(this.#open);
  }
}

/** The error of an operation issued in an ended scope. */
export const SCOPE_ENDED = new ConvoyError(
  'INTERNAL',
  'ctx was used after its transaction, or the function called with it, had ended. Await every call on it before the ' +
    'callback returns, and do not use its ctx or database elsewhere.',
);
