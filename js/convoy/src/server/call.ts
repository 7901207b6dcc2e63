/**
 * One run of one function, seen from its operations: which of them travel together, which are kept or undone together,
 * and when the run is over.
 *
 * Every promise given out has a handler of its own, so that one nobody awaits can fail without ending the process;
 * awaiting it still throws. A mutation ends only when all its operations have, so one that was not awaited is part of
 * the transaction all the same, and its failure is the mutation's.
 */

import { ConvoyError } from '../values/errors.js';
import { Batches } from './batches.js';
import { Documents } from './documents.js';
import type { FunctionKind } from './functions.js';
import type { LossyAnswer, LossyValues } from './lossy-values.js';
import type { NativeCalls } from './native.js';
import { failed, ignore } from './observed-promise.js';
import type { InsertOperation, Operation } from './operations.js';
import { untilItWins } from './retries.js';
import { SCOPE_OVER, Scope } from './scope.js';
import { Transactions } from './transactions.js';

export type { Operation, ScanOperation } from './operations.js';

/** What a call may be told beside its kind. */
export interface CallOptions {
  /** Whether the engine runs all of it in one transaction. It does, unless this is an action or a mutation without one. */
  readonly transactional?: boolean;
}

/** The operations of one run. */
export class Call {
  readonly id: number;
  readonly kind: FunctionKind;
  readonly engine: NativeCalls;
  readonly transactional: boolean;
  /** What is kept or undone with the run as a whole. */
  readonly root = new Scope(null);
  /** The shortest period `ctx.now` was given; how often a live query runs again by itself. */
  refreshMs: number | null = null;
  /** False once a function that is `share: false` has become part of it. */
  isShareable = true;
  readonly #batches: Batches;
  #documents: Documents | null = null;
  /** `null` before the first `transaction`: until then every operation is the root's. */
  #transactions: Transactions | null = null;
  #endings: (() => void)[] | null = null;

  constructor(id: number, kind: FunctionKind, engine: NativeCalls, options: CallOptions = {}) {
    this.id = id;
    this.kind = kind;
    this.engine = engine;
    this.transactional = options.transactional ?? true;
    this.#batches = new Batches(engine, id);
  }

  /** True once the run has ended or the engine has given it up. */
  get over(): boolean {
    return this.#batches.why !== null;
  }

  /** What the run has read that JavaScript cannot hold; `null` where that is nothing. */
  get lossy(): LossyValues | null {
    return this.#batches.lossy;
  }

  /** Notes what was said of a result that did not come through an operation. */
  noteLossy(result: unknown, answer: LossyAnswer): void {
    this.#batches.note(result, answer);
  }

  /** What the run knows of documents. */
  get documents(): Documents {
    this.#documents ??= new Documents();
    return this.#documents;
  }

  /** Whether what is issued from here is part of a transaction: the call's, or one this async context is inside of. */
  get inTransaction(): boolean {
    return this.transactional || (this.#transactions?.current(this.root) ?? this.root) !== this.root;
  }

  /** Notes that the answer becomes old after `ms`; of several periods the shortest counts. */
  refreshEvery(ms: number): void {
    this.refreshMs = this.refreshMs === null ? ms : Math.min(this.refreshMs, ms);
  }

  /**
   * Runs `fn` as a part that is undone where it throws, and rethrows. In a call that is no transaction the outermost of
   * these is one: begun with its first operation, committed when `fn` is done, run again where it lost to another
   * write. A query has nothing to undo and just runs it. `handle` is the scope asked, this async context's unless given.
   */
  transaction<T>(fn: (scope: Scope) => T | PromiseLike<T>, handle: Scope = this.root): Promise<T> {
    if (this.kind === 'query') {
      const result = new Promise<T>((resolve) => resolve(fn(handle)));
      result.catch(ignore);
      return result;
    }
    this.#transactions ??= new Transactions(this, this.#batches);
    try {
      return this.#transactions.run(this.scopeOf(handle), fn);
    } catch (error) {
      return this.refuse(handle, error);
    }
  }

  /** The scope an operation issued from here belongs to, asked of `handle`. Throws where that has ended. */
  scopeOf(handle: Scope): Scope {
    const scope = this.#transactions?.current(handle) ?? handle;
    if (scope.ended) throw SCOPE_OVER;
    return scope;
  }

  /** Runs `work`, which issues operations in `scope`: at once, or when the transaction that is open inside it is over. */
  within<T>(scope: Scope, work: () => Promise<T>): Promise<T> {
    return scope.gate === null ? work() : scope.track(scope.gate.then(work, work));
  }

  /** Sends `operation` with everything else of this microtask; resolves to what `finish` makes of its answer. */
  issue<T>(scope: Scope, operation: Operation, finish: (answer: unknown) => T): Promise<T> {
    if (!this.transactional && scope === this.root) {
      // A transaction by itself, which nobody else would run again.
      return scope.track(untilItWins(() => this.#send(scope, operation, finish)));
    }
    const begun = this.#transactions?.begun(scope) ?? null;
    if (begun === null) return scope.track(this.#send(scope, operation, finish));
    return scope.track(begun.then(() => this.#send(scope, operation, finish)));
  }

  /** Keeps an insert back until the next batch or the end of the run; it cannot fail before then. */
  hold(scope: Scope, operation: InsertOperation): void {
    this.#transactions?.mark(scope, operation, 'held');
    this.#batches.hold(operation, scope);
  }

  /** A promise that fails with `error`. A scope in which nobody looked at it has lost a write, and fails too. */
  refuse(scope: Scope, error: unknown): Promise<never> {
    let open = scope;
    while (open.ended && open.parent !== null) open = open.parent;
    return open.refuse(error);
  }

  /** The answers of a batch: a JSON array, in the order of its operations. */
  settle(batch: number, text: string | Buffer): void {
    this.#batches.settle(batch, text);
  }

  /** Resolves when no operation is open; `null` when none is. Fails with the first that failed unseen. */
  whenIdle(): Promise<void> | null {
    return this.root.whenIdle();
  }

  /** Calls `done` when the run ends, however it does. */
  atEnd(done: () => void): void {
    this.#endings ??= [];
    this.#endings.push(done);
  }

  /** Ends the run. Operations from here on fail with `why`, and so do those still open. */
  end(why: ConvoyError = RETURNED): void {
    if (this.over) return;
    this.#batches.end(why);
    for (const done of this.#endings ?? []) done();
  }

  /** The inserts that were never sent, as JSON; `null` where there are none. */
  takeHeld(): string | null {
    return this.#batches.takeHeld();
  }

  #send<T>(scope: Scope, operation: Operation, finish: (answer: unknown) => T): Promise<T> {
    const why = this.#batches.why ?? (scope.ended ? SCOPE_OVER : null);
    if (why !== null) return failed(why);
    this.#transactions?.mark(scope, operation, 'sent');
    return new Promise<T>((resolve, reject) => {
      this.#batches.add(operation, {
        resolve: (answer) => settle(() => finish(answer), resolve, reject),
        reject: (error) => {
          this.#transactions?.failed(scope, error);
          reject(error);
        },
      });
    });
  }
}

const RETURNED = new ConvoyError(
  'INTERNAL',
  'ctx.db was used after its function had returned. Await every ctx.db call before returning.',
);

/** Settles a promise with what `make` gives or throws. */
function settle<T>(make: () => T, resolve: (value: T) => void, reject: (error: unknown) => void): void {
  try {
    resolve(make());
  } catch (error) {
    reject(error);
  }
}
