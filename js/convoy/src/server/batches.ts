/**
 * Gathers the operations of one call that are issued in one microtask into one crossing, and hands each its answer.
 * Operations cross in the order they were issued, held ones included.
 */

import { ConvoyError, errorFromPayload } from '../values/errors.js';
import { jsonSizeAtMost } from '../values/json-size.js';
import { boundedJson, MOST_CROSSING, mustFit, textThatFits } from './bounded-json.js';
import { toConvoyError } from './engine-errors.js';
import { type LossyAnswer, LossyValues } from './lossy-values.js';
import type { NativeCalls } from './native.js';
import { ignore } from './observed-promise.js';
import type { Operation } from './operations.js';
import type { Scope } from './scope.js';

/** What is held travels with the result in the end, so there is not much of it. */
const MOST_HELD = 8 << 20;

interface Answer extends LossyAnswer {
  readonly ok?: unknown;
  readonly error?: unknown;
}

/** Whoever waits for an answer. */
export interface Waiter {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

interface Issued {
  readonly operation: Operation;
  readonly waiter: Waiter;
}

/** The crossings of one call. */
export class Batches {
  readonly #engine: NativeCalls;
  readonly #callId: number;
  /** Why nothing crosses any more, or `null`. */
  #why: ConvoyError | null = null;
  /** Kept back until something else crosses; always in front of `#issued`. */
  #held: Issued[] = [];
  /** No less than the bytes of what is held. */
  #heldBytes = 0;
  #issued: Issued[] = [];
  #sent: Map<number, readonly Waiter[]> | null = null;
  #next = 0;
  #lossy: LossyValues | null = null;

  constructor(engine: NativeCalls, callId: number) {
    this.#engine = engine;
    this.#callId = callId;
  }

  /** Why nothing crosses any more, or `null`. */
  get why(): ConvoyError | null {
    return this.#why;
  }

  /** What was read that JavaScript cannot hold; `null` where nothing was. */
  get lossy(): LossyValues | null {
    return this.#lossy;
  }

  /** Notes what was said of `result` beside it. */
  note(result: unknown, answer: LossyAnswer): void {
    if (answer.numbers === undefined && answer.deep === undefined) return;
    this.#lossy ??= new LossyValues();
    this.#lossy.note(result, answer);
  }

  /** Sends `operation` with everything else of this microtask. */
  add(operation: Operation, waiter: Waiter): void {
    if (this.#why !== null) {
      waiter.reject(this.#why);
      return;
    }
    if (this.#issued.length === 0) queueMicrotask(() => this.#flush());
    this.#issued.push({ operation, waiter });
  }

  /** Sends `operation` and resolves to its answer. */
  send(operation: Operation): Promise<unknown> {
    return new Promise((resolve, reject) => this.add(operation, { resolve, reject }));
  }

  /**
   * Keeps `operation` back until something else crosses. Whoever awaited it was told that it is fine; if it is not,
   * `scope` is not.
   */
  hold(operation: Operation, scope: Scope): void {
    const waiter: Waiter = { resolve: ignore, reject: (why) => scope.break(why) };
    this.#heldBytes += jsonSizeAtMost(operation, MOST_HELD);
    // Behind what is about to cross, not in front of it.
    if (this.#issued.length > 0 || this.#heldBytes > MOST_HELD) this.add(operation, waiter);
    else this.#held.push({ operation, waiter });
  }

  /**
   * Forgets what is held of the scope that began with the savepoint `name`. False where that has crossed, or is about
   * to: then the scope must be undone by the engine.
   */
  dropHeld(name: number, options: { readonly keepSavepoint: boolean }): boolean {
    if (this.#issued.length > 0) return false;
    const place = this.#held.findIndex(({ operation }) => operation.op === 'savepoint' && operation.name === name);
    // Since it crossed nobody but the scope could issue anything.
    if (place < 0) this.#held = [];
    else this.#held.length = options.keepSavepoint ? place + 1 : place;
    return place >= 0;
  }

  /** The inserts that never crossed, as JSON; `null` where there are none. */
  takeHeld(): string | null {
    // Nothing can return to a savepoint any more.
    const inserts = this.#held.map(({ operation }) => operation).filter(({ op }) => op === 'insert');
    this.#held = [];
    return inserts.length === 0 ? null : this.#json(inserts);
  }

  /** The answers of a batch: a JSON array, in the order of its operations. */
  settle(batch: number, text: string | Buffer): void {
    const waiters = this.#sent?.get(batch);
    if (waiters === undefined) return;
    this.#sent?.delete(batch);
    let answers: Answer[];
    try {
      const json = typeof text === 'string' ? text : textThatFits('What the database gave this call at once', text);
      answers = JSON.parse(json);
    } catch (error) {
      for (const waiter of waiters) waiter.reject(error);
      return;
    }
    waiters.forEach((waiter, place) => {
      const answer = answers[place];
      if (answer === undefined) waiter.reject(new ConvoyError('INTERNAL', 'The engine sent too few results.'));
      else if (answer.error !== undefined) waiter.reject(errorFromPayload(answer.error));
      else {
        this.note(answer.ok, answer);
        waiter.resolve(answer.ok);
      }
    });
  }

  /** Everything still unanswered fails with `why`, and nothing crosses any more; what is held can still be taken. */
  end(why: ConvoyError): void {
    this.#why = why;
    const open = [...(this.#sent?.values() ?? [])].flat().concat(this.#issued.map(({ waiter }) => waiter));
    this.#sent = null;
    this.#issued = [];
    for (const waiter of open) waiter.reject(why);
  }

  #flush(): void {
    if (this.#why !== null || this.#issued.length === 0) return;
    const crossing = this.#held.length === 0 ? this.#issued : [...this.#held, ...this.#issued];
    this.#held = [];
    this.#heldBytes = 0;
    this.#issued = [];
    const batch = this.#next++;
    const waiters = crossing.map(({ waiter }) => waiter);
    this.#sent ??= new Map();
    this.#sent.set(batch, waiters);
    try {
      this.#engine.operate(this.#callId, batch, this.#json(crossing.map(({ operation }) => operation)));
    } catch (error) {
      this.#sent.delete(batch);
      const refusal = toConvoyError(error);
      for (const waiter of waiters) waiter.reject(refusal);
    }
  }

  #json(operations: readonly Operation[]): string {
    const subject = 'What this call asks of the database at once';
    if (this.#lossy === null) return boundedJson(subject, operations, MOST_CROSSING);
    return this.#lossy.stringify(mustFit(subject, operations, MOST_CROSSING));
  }
}
