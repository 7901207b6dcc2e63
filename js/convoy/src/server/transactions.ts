/**
 * `ctx.db.transaction`: runs a function in a scope of its own and keeps or undoes what it did.
 *
 * In a call that is a transaction a scope is a savepoint; in one that is none, the outermost scope is a transaction,
 * run again where it lost to another write. Both are begun by the first operation that needs them, so a scope that
 * does nothing costs nothing.
 *
 * Which scope an operation belongs to is known by the async context it was issued from. So `ctx.db` inside the function
 * means the scope, and the same `ctx.db` outside of it waits until the scope is over.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import type { Batches } from './batches.js';
import type { Documents } from './documents.js';
import type { ControlOperation, Operation } from './operations.js';
import { isLostRace, untilItWins } from './retries.js';
import { Scope } from './scope.js';

/** One for the process, and none before the first transaction: some runtimes pay for it with every promise. */
let storage: AsyncLocalStorage<Scope> | null = null;

/** What transactions need to know of their call. */
export interface TransactionalCall {
  /** Whether the call as a whole is a transaction. */
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

  /** The scope this async context is in, where that is `handle` or one inside it; else `handle`. */
  current(handle: Scope): Scope {
    const scope = this.#storage.getStore();
    return scope?.isWithin(handle) ? scope : handle;
  }

  /** Runs `fn` in a scope inside `parent`, when all that was issued there before is over. */
  run<T>(parent: Scope, fn: (scope: Scope) => T | PromiseLike<T>): Promise<T> {
    const begins = !this.#call.transactional && parent.parent === null;
    const run = (): Promise<T> => (begins ? this.#asTransaction(parent, fn) : this.#inSavepoint(parent, fn));
    const work = parent.track((parent.whenSettled() ?? Promise.resolve()).then(run));
    parent.gate = work;
    const opened = (): void => {
      if (parent.gate === work) parent.gate = null;
    };
    work.then(opened, opened);
    return parent.watch(work);
  }

  /**
   * What an operation of `scope` has to wait for before it may cross; `null` where it need not. Nothing may cross with
   * the `begin` itself: where that fails, what is behind it would be on its own and stay.
   */
  begun(scope: Scope): Promise<unknown> | null {
    if (this.#call.transactional || scope.parent === null) return null;
    const { outermost } = scope;
    outermost.beginning ??= this.#begin(outermost);
    return outermost.isOpen ? null : outermost.beginning;
  }

  /** Sends or holds the savepoint that must stand in front of `operation`, which is about to be sent or held. */
  mark(scope: Scope, operation: Operation, how: 'sent' | 'held'): void {
    if (!changesSomething(operation)) return;
    // One savepoint serves every scope that has none yet: in none of them anything has been written.
    const unmarked: Scope[] = [];
    for (let each = scope; this.#isSavepoint(each) && each.savepoint === null; each = each.parent as Scope) {
      unmarked.push(each);
    }
    if (unmarked.length === 0) return;
    const savepoint: ControlOperation = { op: 'savepoint', name: this.#nextSavepoint++ };
    for (const each of unmarked) each.savepoint = savepoint.name;
    if (how === 'held') this.#batches.hold(savepoint, scope);
    else this.#batches.add(savepoint, { resolve: () => {}, reject: (why) => scope.break(why) });
  }

  /** Notes that an operation failed, where that has ended the transaction it was in. */
  failed(scope: Scope, error: unknown): void {
    if (this.#call.transactional || scope.parent === null || !isLostRace(error)) return;
    scope.outermost.lost ??= error;
    scope.outermost.break(error);
  }

  #isSavepoint(scope: Scope): boolean {
    return scope.parent !== null && (this.#call.transactional || scope.parent.parent !== null);
  }

  async #begin(scope: Scope): Promise<void> {
    try {
      await this.#batches.send({ op: 'begin' });
      scope.isOpen = true;
    } catch (error) {
      this.failed(scope, error);
      scope.break(error);
      throw error;
    }
  }

  async #inSavepoint<T>(parent: Scope, fn: (scope: Scope) => T | PromiseLike<T>): Promise<T> {
    const scope = new Scope(parent);
    try {
      return await this.#inside(scope, fn);
    } catch (error) {
      scope.undone = true;
      await this.#returnToSavepoint(scope, parent);
      throw error;
    }
  }

  #asTransaction<T>(parent: Scope, fn: (scope: Scope) => T | PromiseLike<T>): Promise<T> {
    return untilItWins(() => this.#once(new Scope(parent), fn));
  }

  /** Begins, runs, commits; rolls back what cannot be committed. Fails with the lost race where there was one. */
  async #once<T>(scope: Scope, fn: (scope: Scope) => T | PromiseLike<T>): Promise<T> {
    try {
      const result = await this.#inside(scope, fn);
      if (scope.isOpen) await this.#end(scope, 'commit');
      return result;
    } catch (error) {
      scope.undone = true;
      this.failed(scope, error);
      await scope.beginning?.catch(() => {});
      // Also where it has lost: the engine keeps it open until it is told, and until then begins no other.
      if (scope.isOpen) await this.#end(scope, 'rollback').catch(() => {});
      throw this.#batches.why ?? scope.lost ?? error;
    } finally {
      this.#call.documents.forgetAll();
    }
  }

  /** However this goes, the transaction is over then. */
  #end(scope: Scope, op: 'commit' | 'rollback'): Promise<unknown> {
    scope.isOpen = false;
    return this.#batches.send({ op });
  }

  /** Runs `fn`, waits for what it did not await, and ends the scope. */
  async #inside<T>(scope: Scope, fn: (scope: Scope) => T | PromiseLike<T>): Promise<T> {
    try {
      if (this.#batches.why !== null) throw this.#batches.why;
      const result = await this.#storage.run(scope, async () => fn(scope));
      for (let idle = scope.whenIdle(); idle !== null; idle = scope.whenIdle()) await idle;
      return result;
    } finally {
      scope.ended = true;
    }
  }

  async #returnToSavepoint({ savepoint, outermost }: Scope, parent: Scope): Promise<void> {
    if (savepoint === null || outermost.lost !== null || this.#batches.why !== null) return;
    const shared = parent.savepoint === savepoint;
    if (this.#batches.dropHeld(savepoint, { keepSavepoint: shared })) return;
    // What the scope has under way stands in front of this, and the engine goes by the order.
    await this.#batches.send({ op: 'rollback', to: savepoint }).catch((why) => parent.break(why));
    this.#call.documents.forgetAll();
  }
}

/** Whether it may have to be undone. A raw statement may do anything, unless it was told not to. */
function changesSomething(operation: Operation): boolean {
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
