/**
 * One run of one function, seen from its operations: gathers those issued in one microtask into one crossing, hands
 * each its result, and knows when the run is over.
 *
 * Every promise given out has a handler of its own, so that one nobody awaits can fail without ending the process;
 * awaiting it still throws. A mutation ends only when all its operations have, so one that was not awaited is part of
 * the transaction all the same, and its failure is the mutation's.
 */

import { ConvoyError, errorFromPayload } from '../values/errors.js';
import { refusalIn } from './arrival.js';
import type { FunctionKind } from './functions.js';
import type { NativeEngine } from './native.js';

/** An operation as the engine reads it. */
export type Operation =
  | { readonly op: 'get'; readonly table: string; readonly id: string }
  | { readonly op: 'insert'; readonly table: string; readonly id: string; readonly doc: object }
  | {
      readonly op: 'patch';
      readonly table: string;
      readonly id: string;
      readonly set: object;
      readonly unset: readonly string[];
    }
  | { readonly op: 'delete'; readonly table: string; readonly id: string }
  | ScanOperation;

/** Documents in index order. */
export interface ScanOperation {
  readonly op: 'scan';
  readonly table: string;
  readonly index: string | null;
  readonly eq: readonly unknown[];
  readonly lower?: ScanBound;
  readonly upper?: ScanBound;
  readonly order: 'asc' | 'desc';
  readonly limit: number | null;
}

/** One end of a range. */
export interface ScanBound {
  readonly value: unknown;
  readonly inclusive: boolean;
}

interface Waiter {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

interface Batch {
  /** Held inserts in front, whose results nobody waits for. */
  readonly held: number;
  readonly waiters: readonly Waiter[];
}

/** The operations of one run. */
export class Call {
  readonly id: number;
  readonly kind: FunctionKind;
  readonly engine: NativeEngine;
  /** Why no operation can be issued any more, or `null` while the function runs. */
  #over: ConvoyError | null = null;
  #ops: Operation[] = [];
  #waiters: Waiter[] = [];
  #held: Operation[] = [];
  #batches: Map<number, Batch> | null = null;
  #nextBatch = 0;
  readonly #refusals: Refusal[] = [];
  /** Operations given out and not yet settled. */
  #open = 0;
  #closing: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | null = null;

  constructor(id: number, kind: FunctionKind, engine: NativeEngine) {
    this.id = id;
    this.kind = kind;
    this.engine = engine;
  }

  /** True once the run has ended or the engine has given it up. */
  get over(): boolean {
    return this.#over !== null;
  }

  /** Sends `op` with everything else of this microtask; resolves to what `finish` makes of its result. */
  issue<T>(op: Operation, finish: (value: unknown) => T): Promise<T> {
    if (this.#over !== null) return this.refuse(this.#over);
    if (this.#ops.length === 0) queueMicrotask(() => this.#flush());
    this.#ops.push(op);
    return this.track(
      new Promise<T>((resolve, reject) => {
        this.#waiters.push({ resolve: (value) => resolve(finish(value)), reject });
      }),
    );
  }

  /** Keeps an insert back until the next batch or the end of the run; it cannot fail before then. */
  hold(op: Operation): void {
    this.#held.push(op);
  }

  /** A promise that fails with `error`. A run in which nobody looked at it has lost a write, and fails too. */
  refuse(error: unknown): Promise<never> {
    const refusal = new Refusal((_, reject) => reject(error), error);
    this.#refusals.push(refusal);
    return refusal;
  }

  /** Counts `work` among the operations the run waits for, and lets it fail unawaited. */
  track<T>(work: Promise<T>): Promise<T> {
    this.#open++;
    work.then(
      () => this.#closed(null),
      (error) => this.#closed({ error }),
    );
    return work;
  }

  /** The results of a batch: a JSON array, in the order of its operations. */
  settle(batch: number, text: string): void {
    const sent = this.#batches?.get(batch);
    if (sent === undefined) return;
    this.#batches?.delete(batch);
    const results = JSON.parse(text) as { readonly ok?: unknown; readonly error?: unknown }[];
    // Whoever awaited a held insert was told that it is fine; if it is not, the run as a whole is not.
    const lost = results.slice(0, sent.held).find((result) => result.error !== undefined);
    if (lost !== undefined) void this.refuse(errorFromPayload(lost.error));
    sent.waiters.forEach((waiter, place) => {
      const result = results[sent.held + place];
      if (result === undefined) waiter.reject(new ConvoyError('INTERNAL', 'The engine sent too few results.'));
      else if (result.error !== undefined) waiter.reject(errorFromPayload(result.error));
      else waiter.resolve(result.ok);
    });
  }

  /** Resolves when no operation is open; `null` when none is. Fails with the first that failed unseen. */
  whenIdle(): Promise<void> | null {
    const unseen = this.#refusals.find((refusal) => !refusal.seen);
    if (unseen !== undefined) return Promise.reject(unseen.why);
    if (this.#open === 0) return null;
    return new Promise((resolve, reject) => {
      this.#closing = { resolve, reject };
    });
  }

  /** Ends the run. Operations from here on fail with `why`, and so do those still open. */
  end(why: ConvoyError = RETURNED): void {
    if (this.#over !== null) return;
    this.#over = why;
    const open = [...(this.#batches?.values() ?? [])].flatMap((batch) => batch.waiters).concat(this.#waiters);
    this.#batches = null;
    this.#ops = [];
    this.#waiters = [];
    for (const waiter of open) waiter.reject(why);
  }

  /** The inserts that were never sent, as JSON; `null` where there are none. */
  takeHeld(): string | null {
    if (this.#held.length === 0) return null;
    const held = JSON.stringify(this.#held);
    this.#held = [];
    return held;
  }

  #flush(): void {
    if (this.#over !== null || this.#ops.length === 0) return;
    const batch: Batch = { held: this.#held.length, waiters: this.#waiters };
    const ops = this.#held.length === 0 ? this.#ops : [...this.#held, ...this.#ops];
    this.#ops = [];
    this.#waiters = [];
    this.#held = [];
    const number = this.#nextBatch++;
    this.#batches ??= new Map();
    this.#batches.set(number, batch);
    try {
      this.engine.operate(this.id, number, JSON.stringify(ops));
    } catch (error) {
      this.#batches.delete(number);
      const refusal = refusalIn(error);
      for (const waiter of batch.waiters) waiter.reject(refusal);
    }
  }

  #closed(failure: { readonly error: unknown } | null): void {
    this.#open--;
    if (this.#closing === null) return;
    if (failure !== null) this.#closing.reject(failure.error);
    else if (this.#open === 0) this.#closing.resolve();
  }
}

const RETURNED = new ConvoyError(
  'INTERNAL',
  'ctx.db was used after its function had returned. Await every ctx.db call before returning.',
);

/**
 * A refused operation, which knows whether anyone has asked how it ended. `await` asks: it goes through `then` for
 * every promise that is not plainly a `Promise`.
 */
class Refusal extends Promise<never> {
  readonly why: unknown;
  seen = false;

  constructor(executor: (resolve: (value: never) => void, reject: (error: unknown) => void) => void, why: unknown) {
    super(executor);
    this.why = why;
    // Not through our own `then`, which would count as someone asking.
    Promise.prototype.then.call(this, undefined, ignore);
  }

  /** What is chained to a refusal is an ordinary promise. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  // biome-ignore lint/suspicious/noThenProperty: overriding it is how a refusal learns that it was seen.
  override then<A = never, B = never>(
    fulfilled?: ((value: never) => A | PromiseLike<A>) | null,
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.seen = true;
    return super.then(fulfilled, rejected);
  }
}

/** The handler that keeps an unawaited refusal from ending the process; whoever awaits it is still told. */
function ignore(): void {}
