/**
 * Gathers the operations of one call that are issued in one microtask into one crossing, and hands each its answer.
 * Operations cross in the order they were issued, held ones included.
 */

import { ConvoyError, errorFromPayload } from '../values/errors.js';
import { refusalIn } from './arrival.js';
import type { NativeEngine } from './native.js';
import type { Operation } from './operations.js';
import type { Scope } from './scope.js';

/** Whoever waits for an answer. */
export interface Waiter {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** The crossings of one call. */
export class Batches {
  readonly #engine: NativeEngine;
  readonly #callId: number;
  readonly #root: Scope;
  /** Why nothing crosses any more, or `null`. */
  #why: ConvoyError | null = null;
  /** Kept back until something else crosses; always in front of `#operations`. */
  #held: Operation[] = [];
  #operations: Operation[] = [];
  /** One for each of `#operations`; `null` where nobody waits. */
  #waiters: (Waiter | null)[] = [];
  #sent: Map<number, readonly (Waiter | null)[]> | null = null;
  #next = 0;

  /** `root` is told of operations that failed although nobody waits for them. */
  constructor(engine: NativeEngine, callId: number, root: Scope) {
    this.#engine = engine;
    this.#callId = callId;
    this.#root = root;
  }

  /** Why nothing crosses any more, or `null`. */
  get why(): ConvoyError | null {
    return this.#why;
  }

  /** Sends `operation` with everything else of this microtask. */
  add(operation: Operation, waiter: Waiter | null): void {
    if (this.#why !== null) {
      waiter?.reject(this.#why);
      return;
    }
    if (this.#operations.length === 0) queueMicrotask(() => this.#flush());
    this.#operations.push(operation);
    this.#waiters.push(waiter);
  }

  /** Sends `operation` and resolves to its answer. */
  send(operation: Operation): Promise<unknown> {
    return new Promise((resolve, reject) => this.add(operation, { resolve, reject }));
  }

  /** Keeps `operation` back until something else crosses. */
  hold(operation: Operation): void {
    // Behind what is about to cross, not in front of it.
    if (this.#operations.length > 0) this.add(operation, null);
    else this.#held.push(operation);
  }

  /**
   * Forgets what is held of the scope that began with the savepoint `name`. False where that has crossed, or is about
   * to: then the scope must be undone by the engine.
   */
  dropHeld(name: number, options: { readonly keepSavepoint: boolean }): boolean {
    if (this.#operations.length > 0) return false;
    const place = this.#held.findIndex((held) => held.op === 'savepoint' && held.name === name);
    // Since it crossed nobody but the scope could issue anything.
    if (place < 0) this.#held = [];
    else this.#held.length = options.keepSavepoint ? place + 1 : place;
    return place >= 0;
  }

  /** The inserts that never crossed, as JSON; `null` where there are none. */
  takeHeld(): string | null {
    // Nothing can return to a savepoint any more.
    const inserts = this.#held.filter((held) => held.op === 'insert');
    this.#held = [];
    return inserts.length === 0 ? null : JSON.stringify(inserts);
  }

  /** The answers of a batch: a JSON array, in the order of its operations. */
  settle(batch: number, text: string): void {
    const waiters = this.#sent?.get(batch);
    if (waiters === undefined) return;
    this.#sent?.delete(batch);
    const answers = JSON.parse(text) as { readonly ok?: unknown; readonly error?: unknown }[];
    waiters.forEach((waiter, place) => {
      const answer = answers[place];
      if (answer === undefined) this.#reject(waiter, new ConvoyError('INTERNAL', 'The engine sent too few results.'));
      else if (answer.error !== undefined) this.#reject(waiter, errorFromPayload(answer.error));
      else waiter?.resolve(answer.ok);
    });
  }

  /** Everything still unanswered fails with `why`, and nothing crosses any more; what is held can still be taken. */
  end(why: ConvoyError): void {
    this.#why = why;
    const open = [...(this.#sent?.values() ?? [])].flat().concat(this.#waiters);
    this.#sent = null;
    this.#operations = [];
    this.#waiters = [];
    for (const waiter of open) waiter?.reject(why);
  }

  #flush(): void {
    if (this.#why !== null || this.#operations.length === 0) return;
    const operations = this.#held.length === 0 ? this.#operations : [...this.#held, ...this.#operations];
    const waiters = this.#held.length === 0 ? this.#waiters : [...this.#held.map(() => null), ...this.#waiters];
    this.#held = [];
    this.#operations = [];
    this.#waiters = [];
    const batch = this.#next++;
    this.#sent ??= new Map();
    this.#sent.set(batch, waiters);
    try {
      this.#engine.operate(this.#callId, batch, JSON.stringify(operations));
    } catch (error) {
      this.#sent.delete(batch);
      const refusal = refusalIn(error);
      for (const waiter of waiters) this.#reject(waiter, refusal);
    }
  }

  /** Whoever awaited a held operation was told that it is fine; if it is not, the run as a whole is not. */
  #reject(waiter: Waiter | null, error: unknown): void {
    if (waiter === null) void this.#root.refuse(error);
    else waiter.reject(error);
  }
}
