/**
 * `ctx.db.transaction`: runs a function in a new scope and keeps its operations, or rolls them back.
 *
 * In a transactional call a scope is a savepoint. In any other call the outermost scope is a transaction, retried on
 * conflict, and inner scopes are savepoints in it. `begin` and savepoints are sent with the first operation that needs
 * them, so an empty scope costs no round trip.
 *
 * The scope of an operation is found by the async context it was issued from. So `ctx.db` inside the function uses the
 * inner scope, and the same `ctx.db` outside of it waits until that scope has ended.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import type { Batches } from './batches.js';
import type { Documents } from './documents.js';
import type { ControlOperation, Operation } from './operations.js';
import { isConflict, retryOnConflict } from './retries.js';
import { Scope } from './scope.js';

/** One per process, created by the first transaction: some runtimes slow down every promise once it exists. */
let storage: AsyncLocalStorage<Scope> | null = null;

/** The part of a call that `Transactions` uses. */
export interface TransactionalCall {
  /** Whether the engine runs the whole call in one transaction. */
  readonly transactional: boolean;
  readonly documents: Documents;
}

/** The scopes of one call. */
export class Transactions {
  readonly #call: TransactionalCall;
  readonly #batches: Batches;
  readonly #storage: AsyncLocalStorage<Scope>;
  #nextSavepoint = 1;

  constructor(call: TransactionalCall, batches: Batches) {
    this.#call = call;
    this.#batches = batches;
    storage ??= new AsyncLocalStorage();
    this.#storage = storage;
  }

  /** The scope of this async context if it is `handle` or nested in it, else `handle`. */
  current(handle: Scope): Scope {
    const scope = this.#storage.getStore();
    return scope?.isWithin(handle) ? scope : handle;
  }

  /** Runs `fn` in a new scope inside `parent`, after all work issued there before has settled. */
  run<T>(parent: Scope, fn: (scope: Scope) => T | PromiseLike<T>): Promise<T> {
    const isOutermost = !this.#call.transactional && parent.parent === null;
    const run = (): Promise<T> => (isOutermost ? this.#inTransaction(parent, fn) : this.#inSavepoint(parent, fn));
    const work = parent.track((parent.whenSettled() ?? Promise.resolve()).then(run));
    parent.gate = work;
    const openGate = (): void => {
      if (parent.gate === work) parent.gate = null;
    };
    work.then(openGate, openGate);
    return parent.observe(work);
  }

  /**
   * The `begin` that an operation of `scope` waits for before it is sent; `null` if it need not wait. No operation shares
   * a batch with `begin`: if `begin` failed, those after it would run in autocommit and be kept.
   */
  whenBegun(scope: Scope): Promise<unknown> | null {
    if (this.#call.transactional || scope.parent === null) return null;
    const { outermost } = scope;
    outermost.beginning ??= this.#begin(outermost);
    return outermost.isOpen ? null : outermost.beginning;
  }

  /** Sends or holds the savepoint that `operation`, about to be sent or held, needs before it. */
  ensureSavepoint(scope: Scope, operation: Operation, how: 'sent' | 'held'): void {
    if (!isWrite(operation)) return;
    // One savepoint serves every enclosing scope without one, since none of them has written yet.
    const withoutSavepoint: Scope[] = [];
    for (let each = scope; this.#isSavepoint(each) && each.savepoint === null; each = each.parent as Scope) {
      withoutSavepoint.push(each);
    }
    if (withoutSavepoint.length === 0) return;
    const savepoint: ControlOperation = { op: 'savepoint', name: this.#nextSavepoint++ };
    for (const each of withoutSavepoint) each.savepoint = savepoint.name;
    if (how === 'held') this.#batches.hold(savepoint, scope);
    else this.#batches.add(savepoint, { resolve: () => {}, reject: (reason) => scope.abort(reason) });
  }

  /** Records the failure of an operation if it is a conflict, which aborts its transaction. */
  recordFailure(scope: Scope, error: unknown): void {
    if (this.#call.transactional || scope.parent === null || !isConflict(error)) return;
    scope.outermost.conflict ??= error;
    scope.outermost.abort(error);
  }

  #isSavepoint(scope: Scope): boolean {
    return scope.parent !== null && (this.#call.transactional || scope.parent.parent !== null);
  }

  async #begin(scope: Scope): Promise<void> {
    try {
      await this.#batches.send({ op: 'begin' });
      scope.isOpen = true;
    } catch (error) {
      this.recordFailure(scope, error);
      scope.abort(error);
      throw error;
    }
  }

  async #inSavepoint<T>(parent: Scope, fn: (scope: Scope) => T | PromiseLike<T>): Promise<T> {
    const scope = new Scope(parent);
    try {
      return await this.#runInScope(scope, fn);
    } catch (error) {
      scope.rolledBack = true;
      await this.#returnToSavepoint(scope, parent);
      throw error;
    }
  }

  #inTransaction<T>(parent: Scope, fn: (scope: Scope) => T | PromiseLike<T>): Promise<T> {
    return retryOnConflict(() => this.#attempt(new Scope(parent), fn));
  }

  /** Begins, runs and commits, or rolls back on failure. Rejects with the conflict if there was one. */
  async #attempt<T>(scope: Scope, fn: (scope: Scope) => T | PromiseLike<T>): Promise<T> {
    try {
      const result = await this.#runInScope(scope, fn);
      if (scope.isOpen) await this.#finish(scope, 'commit');
      return result;
    } catch (error) {
      scope.rolledBack = true;
      this.recordFailure(scope, error);
      await scope.beginning?.catch(() => {});
      // After a conflict too: until it receives `rollback`, the engine keeps the transaction open and begins no other.
      if (scope.isOpen) await this.#finish(scope, 'rollback').catch(() => {});
      throw this.#batches.endReason ?? scope.conflict ?? error;
    } finally {
      this.#call.documents.forgetAll();
    }
  }

  /** Sends `commit` or `rollback`. The transaction has ended afterwards, even if this fails. */
  #finish(scope: Scope, op: 'commit' | 'rollback'): Promise<unknown> {
    scope.isOpen = false;
    return this.#batches.send({ op });
  }

  /** Runs `fn`, waits for the operations it did not await, and ends the scope. */
  async #runInScope<T>(scope: Scope, fn: (scope: Scope) => T | PromiseLike<T>): Promise<T> {
    try {
      if (this.#batches.endReason !== null) throw this.#batches.endReason;
      const result = await this.#storage.run(scope, async () => fn(scope));
      for (let idle = scope.whenIdle(); idle !== null; idle = scope.whenIdle()) await idle;
      return result;
    } finally {
      scope.ended = true;
    }
  }

  async #returnToSavepoint({ savepoint, outermost }: Scope, parent: Scope): Promise<void> {
    if (savepoint === null || outermost.conflict !== null || this.#batches.endReason !== null) return;
    const shared = parent.savepoint === savepoint;
    if (this.#batches.dropHeld(savepoint, { keepSavepoint: shared })) return;
    // The engine runs operations in order, so pending operations of the scope run before this rollback.
    await this.#batches.send({ op: 'rollback', to: savepoint }).catch((reason) => parent.abort(reason));
    this.#call.documents.forgetAll();
  }
}

/** Whether `operation` may write and so need a rollback. A raw statement may, unless it is read-only. */
function isWrite(operation: Operation): boolean {
  switch (operation.op) {
    case 'insert':
    case 'patch':
    case 'replace':
    case 'increment':
    case 'delete':
      return true;
    case 'raw':
      return operation.readOnly !== true;
    default:
      return false;
  }
}
