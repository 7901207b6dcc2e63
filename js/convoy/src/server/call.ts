/**
 * The database operations of one call: which of them share a batch, which are kept or rolled back together, and when
 * the call has ended.
 *
 * Every returned promise has a rejection handler, so that an unawaited one can fail without ending the process;
 * awaiting it still throws. A mutation waits for all its operations before it ends, so an unawaited write is part of
 * the transaction, and its failure fails the mutation.
 */

import { ConvoyError } from '../values/errors.js';
import { type Answer, Batches, type Held, type Prefetched } from './batches.js';
import { Documents } from './documents.js';
import type { FunctionKind } from './functions.js';
import type { LossyAnswer, LossyValues } from './lossy-values.js';
import type { NativeCalls } from './native.js';
import { ignore, rejected } from './observed-promise.js';
import type { InsertOperation, Operation, PatchOperation } from './operations.js';
import { retryOnConflict } from './retries.js';
import type { CallSettings } from './row-security/operation-role.js';
import { SCOPE_ENDED, Scope } from './scope.js';
import { Transactions } from './transactions.js';

export type { Operation, ScanOperation } from './operations.js';

/** Options of a call. */
export interface CallOptions {
  /** Whether the engine runs the whole call in one transaction (true); false for actions and `transaction: false`. */
  readonly transactional?: boolean;
  /** Whether the engine asks if the result depends on anything that changes without a write. */
  readonly observed?: boolean;
  /** The operations with which the call probably begins, with their answers. */
  readonly prefetched?: Prefetched | null;
}

/** The operations of one call. */
export class Call {
  readonly id: number;
  readonly kind: FunctionKind;
  readonly engine: NativeCalls;
  readonly transactional: boolean;
  /** The scope of the call as a whole. */
  readonly root = new Scope(null);
  /** The shortest period passed to `ctx.now`: how often a live query runs again without a change. */
  refreshMs: number | null = null;
  /** Whether `createContext` runs for this call now: only it may read from memory. */
  isMakingContext = false;
  /** False once a `share: false` function has joined the call. */
  isShareable = true;
  /** Whether the engine asks if the result depends on anything that changes without a write. */
  readonly isObserved: boolean;
  /** False once the call has used such a source, as far as it is watched. */
  isPure = true;
  /** The settings of row-level security; `null` before the first operation under the role of clients. */
  rowSettings: CallSettings | null = null;
  readonly #batches: Batches;
  #documents: Documents | null = null;
  /** `null` before the first `transaction`: until then every operation belongs to the root scope. */
  #transactions: Transactions | null = null;
  #endListeners: (() => void)[] | null = null;

  constructor(id: number, kind: FunctionKind, engine: NativeCalls, options: CallOptions = {}) {
    this.id = id;
    this.kind = kind;
    this.engine = engine;
    this.transactional = options.transactional ?? true;
    this.isObserved = options.observed ?? false;
    this.#batches = new Batches(engine, id, options.prefetched ?? null);
  }

  /** The span of the run, as a `traceparent`; `null` if traces are not recorded. */
  get traceparent(): string | null {
    return this.engine.traceparent(this.id);
  }

  /** True once the call has ended or the engine has abandoned it. */
  get ended(): boolean {
    return this.#batches.endReason !== null;
  }

  /** Values read so far that JavaScript cannot represent exactly; `null` if there are none. */
  get lossy(): LossyValues | null {
    return this.#batches.lossy;
  }

  /** Whether the call has not begun with the prefetched operations. */
  get leftPrefetched(): boolean {
    return this.#batches.leftPrefetched;
  }

  /** Records the lossy values of a result that did not come from an operation. */
  noteLossy(result: unknown, answer: LossyAnswer): void {
    this.#batches.note(result, answer);
  }

  /** The document cache of the call. */
  get documents(): Documents {
    this.#documents ??= new Documents();
    return this.#documents;
  }

  /** Whether an operation issued now is part of a transaction: the call's, or one opened by this async context. */
  get inTransaction(): boolean {
    return this.transactional || (this.#transactions?.current(this.root) ?? this.root) !== this.root;
  }

  /** Makes the result stale after `ms`; the shortest of several periods counts. */
  refreshEvery(ms: number): void {
    this.refreshMs = this.refreshMs === null ? ms : Math.min(this.refreshMs, ms);
  }

  /**
   * Runs `fn` in an inner scope, which is rolled back if `fn` throws; the error is rethrown. In a call without a
   * transaction the outermost scope is one: begun by its first operation, committed when `fn` resolves, retried on
   * conflict. In a query there are no writes to roll back, so `fn` just runs. `handle` is the scope to nest in; by
   * default that of this async context.
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
      return this.rejectWrite(handle, error);
    }
  }

  /** The scope that an operation issued now on `handle` belongs to. Throws if that scope has ended. */
  scopeOf(handle: Scope): Scope {
    const scope = this.#transactions?.current(handle) ?? handle;
    if (scope.ended) throw SCOPE_ENDED;
    return scope;
  }

  /** Runs `work`, which issues operations in `scope`: at once, or after the inner transaction open in it has ended. */
  within<T>(scope: Scope, work: () => Promise<T>): Promise<T> {
    return scope.gate === null ? work() : scope.track(scope.gate.then(work, work));
  }

  /** Adds `operation` to the batch of this microtask; resolves to its result mapped by `finish`. */
  issue<T>(scope: Scope, operation: Operation, finish: (answer: unknown) => T): Promise<T> {
    if (!this.transactional && scope === this.root) {
      // Runs in autocommit: a single-statement transaction, which no caller retries.
      return scope.track(retryOnConflict(() => this.#send(scope, operation, finish)));
    }
    const whenBegun = this.#transactions?.whenBegun(scope) ?? null;
    if (whenBegun === null) return scope.track(this.#send(scope, operation, finish));
    return scope.track(whenBegun.then(() => this.#send(scope, operation, finish)));
  }

  /** Holds a write until the next batch or the end of the call; it cannot fail before then. */
  hold(scope: Scope, operation: InsertOperation | PatchOperation): void {
    this.#transactions?.ensureSavepoint(scope, operation, 'held');
    this.#batches.hold(operation, scope);
  }

  /** A promise rejected with `error` for a write that was not sent; if it is left unhandled, the scope fails too. */
  rejectWrite(scope: Scope, error: unknown): Promise<never> {
    let open = scope;
    while (open.ended && open.parent !== null) open = open.parent;
    return open.rejectWrite(error);
  }

  /** Resolves the operations of a batch with `text`, a JSON array in their order. */
  resolveBatch(batch: number, text: string | Buffer): void {
    this.#batches.resolveBatch(batch, text);
  }

  /** Resolves the operations of a batch with their answers, in their order. */
  resolveWith(batch: number, answers: readonly Answer[]): void {
    this.#batches.resolveWith(batch, answers);
  }

  /** How many batches of operations it has sent. */
  get batchCount(): number {
    return this.#batches.count;
  }

  /** Resolves when no operation is pending; `null` when none is. Rejects with the first unhandled failure. */
  whenIdle(): Promise<void> | null {
    return this.root.whenIdle();
  }

  /** Calls `listener` when the call ends, successfully or not. */
  onEnd(listener: () => void): void {
    this.#endListeners ??= [];
    this.#endListeners.push(listener);
  }

  /** Ends the call. Pending and later operations fail with `reason`. */
  end(reason: ConvoyError = RETURNED): void {
    if (this.ended) return;
    this.#batches.end(reason);
    for (const listener of this.#endListeners ?? []) listener();
  }

  /** Takes the writes that were never sent; `null` if there are none. */
  takeHeld(): Held | null {
    return this.#batches.takeHeld();
  }

  #send<T>(scope: Scope, operation: Operation, finish: (answer: unknown) => T): Promise<T> {
    const reason = this.#batches.endReason ?? (scope.ended ? SCOPE_ENDED : null);
    if (reason !== null) return rejected(reason);
    this.#transactions?.ensureSavepoint(scope, operation, 'sent');
    return new Promise<T>((resolve, reject) => {
      this.#batches.add(operation, {
        resolve: (answer) => settle(() => finish(answer), resolve, reject),
        reject: (error) => {
          this.#transactions?.recordFailure(scope, error);
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

/** Settles a promise with what `make` returns or throws. */
function settle<T>(make: () => T, resolve: (value: T) => void, reject: (error: unknown) => void): void {
  try {
    resolve(make());
  } catch (error) {
    reject(error);
  }
}
