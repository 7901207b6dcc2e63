/**
 * Batches the operations of one call: those issued in one microtask are sent to the engine together, and each receives
 * its own result. Operations are sent in the order in which they were issued, held ones included.
 */

import { ConvoyError, errorFromPayload } from '../values/errors.js';
import { boundedText, boundedValue, MAX_MESSAGE_BYTES } from './bounded-json.js';
import { toConvoyError } from './engine-errors.js';
import { type LossyAnswer, LossyValues } from './lossy-values.js';
import type { NativeCalls } from './native.js';
import { ignore } from './observed-promise.js';
import type { Operation } from './operations.js';
import { parseJson } from './parse-json.js';
import type { Scope } from './scope.js';

/** Held writes may be sent together with the result, so the length of their JSON is limited. */
const MAX_HELD_LENGTH = 8 << 20;

/** The answer to one operation. */
export interface Answer extends LossyAnswer {
  readonly ok?: unknown;
  readonly error?: unknown;
}

/** The callbacks of an operation that waits for its result. */
export interface Waiter {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

interface Issued {
  readonly operation: Operation;
  readonly waiter: Waiter;
}

/** A held operation, as it was when it was issued. */
interface HeldOperation extends Issued {
  readonly json: string;
}

/** Errors of operations, as opposed to those that user code throws. */
const failures = new WeakSet<object>();

/** Whether `error` is the failure of an operation, or caused by one. */
export function isOperationFailure(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false;
  const { cause } = error as { readonly cause?: unknown };
  return failures.has(error) || (typeof cause === 'object' && cause !== null && failures.has(cause));
}

function failure<T>(error: T): T {
  if (typeof error === 'object' && error !== null) failures.add(error);
  return error;
}

/** Writes that were never sent: a member of `CallMetadata`, with its JSON. */
export interface Held {
  readonly member: 'held' | 'writes';
  readonly writes: readonly Operation[];
  readonly json: string;
}

/** A first batch as the engine expects it, as JSON, with its answers. */
export interface Prefetched {
  readonly ops: string;
  readonly answers: string;
}

/** The batches of one call. */
export class Batches {
  readonly #engine: NativeCalls;
  readonly #callId: number;
  /** `null` once a batch was issued. */
  #prefetched: Prefetched | null;
  /** Set when the call has ended; no batch is sent afterwards. */
  #endReason: ConvoyError | null = null;
  /** Operations held until the next batch; they precede `#issued`. */
  #held: HeldOperation[] = [];
  /** The length of their JSON, with that of operations that were dropped since the last batch. */
  #heldLength = 0;
  #issued: Issued[] = [];
  #sent: Map<number, readonly Waiter[]> | null = null;
  #next = 0;
  #lossy: LossyValues | null = null;

  constructor(engine: NativeCalls, callId: number, prefetched: Prefetched | null = null) {
    this.#engine = engine;
    this.#callId = callId;
    this.#prefetched = prefetched;
  }

  /** Whether there are prefetched operations, and no batch was issued so far. */
  get leftPrefetched(): boolean {
    return this.#prefetched !== null;
  }

  /** How many batches were sent, or answered by what was prefetched. */
  get count(): number {
    return this.#next;
  }

  /** Why no batch is sent any more; `null` while the call runs. */
  get endReason(): ConvoyError | null {
    return this.#endReason;
  }

  /** Values read so far that JavaScript cannot represent exactly; `null` if there are none. */
  get lossy(): LossyValues | null {
    return this.#lossy;
  }

  /** Records the lossy values that came with `result`. */
  note(result: unknown, answer: LossyAnswer): void {
    if (answer.numbers === undefined && answer.deep === undefined) return;
    this.#lossy ??= new LossyValues();
    this.#lossy.note(result, answer);
  }

  /** Adds `operation` to the batch of this microtask. */
  add(operation: Operation, waiter: Waiter): void {
    if (this.#endReason !== null) {
      waiter.reject(this.#endReason);
      return;
    }
    if (this.#issued.length === 0) queueMicrotask(() => this.#flush());
    this.#issued.push({ operation, waiter });
  }

  /** Sends `operation` and resolves to its result. */
  send(operation: Operation): Promise<unknown> {
    return new Promise((resolve, reject) => this.add(operation, { resolve, reject }));
  }

  /**
   * Holds `operation`, as it is now, until the next batch. The handler's promise has already resolved, so a later failure
   * aborts `scope`.
   */
  hold(operation: Operation, scope: Scope): void {
    const reject = (reason: unknown): void => scope.abort(reason);
    // Operations of this microtask come first.
    if (this.#issued.length === 0) {
      try {
        const json = this.#json(operation, MAX_MESSAGE_BYTES);
        this.#heldLength += json.length;
        if (this.#heldLength <= MAX_HELD_LENGTH) {
          this.#held.push({ operation, waiter: { resolve: ignore, reject }, json });
          return;
        }
      } catch (error) {
        reject(failure(toConvoyError(error)));
        return;
      }
    }
    // The scope waits for it: the handler need not.
    scope.track(this.send(operation)).catch(reject);
  }

  /**
   * Drops the held operations of the scope that began with the savepoint `name`. Returns false if that savepoint was sent
   * or is about to be; the engine then has to roll the scope back.
   */
  dropHeld(name: number, options: { readonly keepSavepoint: boolean }): boolean {
    if (this.#issued.length > 0) return false;
    const index = this.#held.findIndex(({ operation }) => operation.op === 'savepoint' && operation.name === name);
    // If the savepoint was sent, all held operations are the scope's: the others wait until it has ended.
    if (index < 0) this.#held = [];
    else this.#held.length = options.keepSavepoint ? index + 1 : index;
    return index >= 0;
  }

  /** Takes the writes that were never sent; `null` if there are none. */
  takeHeld(): Held | null {
    // The savepoints are left out: the handler has returned, so none of them is rolled back to.
    const held = this.#held.filter(({ operation }) => operation.op !== 'savepoint');
    this.#held = [];
    if (held.length === 0) return null;
    const writes = held.map(({ operation }) => operation);
    return { member: writes.every(({ op }) => op === 'insert') ? 'held' : 'writes', writes, json: `[${joined(held)}]` };
  }

  /** Resolves the operations of a batch with `text`, a JSON array in their order. */
  resolveBatch(batch: number, text: string | Buffer): void {
    if (this.#sent?.has(batch) !== true) return;
    try {
      const json = typeof text === 'string' ? text : boundedText("The result of this call's database operations", text);
      this.resolveWith(batch, parseJson(json) as Answer[]);
    } catch (error) {
      for (const waiter of this.#takeSent(batch)) waiter.reject(failure(error));
    }
  }

  /** Resolves the operations of a batch with their answers, in their order. */
  resolveWith(batch: number, answers: readonly Answer[]): void {
    this.#takeSent(batch).forEach((waiter, index) => {
      const answer = answers[index];
      if (answer === undefined) waiter.reject(failure(new ConvoyError('INTERNAL', 'The engine sent too few results.')));
      else if (answer.error !== undefined) waiter.reject(failure(errorFromPayload(answer.error)));
      else {
        this.note(answer.ok, answer);
        waiter.resolve(answer.ok);
      }
    });
  }

  #takeSent(batch: number): readonly Waiter[] {
    const waiters = this.#sent?.get(batch) ?? [];
    this.#sent?.delete(batch);
    return waiters;
  }

  /** Rejects all pending operations with `reason` and sends no further batch. Held writes can still be taken. */
  end(reason: ConvoyError): void {
    this.#endReason = failure(reason);
    const open = [...(this.#sent?.values() ?? [])].flat().concat(this.#issued.map(({ waiter }) => waiter));
    this.#sent = null;
    this.#issued = [];
    for (const waiter of open) waiter.reject(reason);
  }

  #flush(): void {
    if (this.#endReason !== null || this.#issued.length === 0) return;
    const [held, issued] = [this.#held, this.#issued];
    this.#held = [];
    this.#heldLength = 0;
    this.#issued = [];
    const batch = this.#next;
    const waiters = [...held, ...issued].map(({ waiter }) => waiter);
    this.#sent ??= new Map();
    this.#sent.set(batch, waiters);
    const prefetched = this.#prefetched;
    this.#prefetched = null;
    try {
      const first = joined(held);
      const operations = issued.map(({ operation }) => operation);
      const rest = this.#json(operations, MAX_MESSAGE_BYTES - first.length);
      const json = held.length === 0 ? rest : `[${first},${rest.slice(1)}`;
      this.#next = batch + 1;
      if (json === prefetched?.ops) this.resolveBatch(batch, prefetched.answers);
      else this.#engine.operate(this.#callId, batch, json);
    } catch (error) {
      this.#sent.delete(batch);
      const reason = failure(toConvoyError(error));
      for (const waiter of waiters) waiter.reject(reason);
    }
  }

  #json(value: unknown, maxBytes: number): string {
    const sent = boundedValue('One batch of database operations of this call', value, maxBytes);
    return this.#lossy === null ? JSON.stringify(sent) : this.#lossy.stringify(sent);
  }
}

function joined(held: readonly HeldOperation[]): string {
  return held.map(({ json }) => json).join();
}
