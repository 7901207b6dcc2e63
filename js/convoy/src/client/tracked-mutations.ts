/** The mutations that the open session reports on: which of its results have their changes. */
import type { MutationTracker, SubscriptionSink } from './transport.js';

export class TrackedMutations {
  readonly #trackers = new Map<string, MutationTracker>();

  /** Tracks the mutation `key` from now on; it may settle before its response arrives. */
  add(key: string, tracker: MutationTracker): void {
    this.#trackers.set(key, tracker);
    tracker.tracked();
  }

  /** Stops tracking a mutation that has failed. */
  remove(key: string): void {
    this.#trackers.delete(key);
  }

  included(key: string, sinks: readonly SubscriptionSink[], result: unknown): void {
    this.#trackers.get(key)?.included(sinks, result);
  }

  settled(key: string, result: unknown): void {
    const tracker = this.#trackers.get(key);
    this.#trackers.delete(key);
    tracker?.settled(result);
  }

  /** The session does not report the mutation `key`. */
  lose(key: string): void {
    const tracker = this.#trackers.get(key);
    this.#trackers.delete(key);
    tracker?.lost();
  }

  /** The session has ended, and the next session cannot report these mutations. */
  loseAll(): void {
    for (const key of [...this.#trackers.keys()]) this.lose(key);
  }
}
