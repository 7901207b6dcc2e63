/**
 * Mutations whose effects have not all been shown: each is waited for until the session says that everything it changed
 * was sent, until there is no session any more that could say so, or for a moment.
 */

export interface Settlement {
  /** Resolves when settled, or after `ms`. */
  within(ms: number): Promise<void>;
  /** Nobody waits any more. */
  drop(): void;
}

export class Settlements {
  readonly #open = new Map<string, () => void>();

  /** Begins to listen for `key`, which may be settled before its answer is here. */
  expect(key: string): Settlement {
    const settled = new Promise<void>((resolve) => this.#open.set(key, resolve));
    return {
      within: async (ms) => {
        const timer = setTimeout(() => this.settle(key), ms);
        await settled;
        clearTimeout(timer);
      },
      drop: () => this.#open.delete(key),
    };
  }

  settle(key: string): void {
    this.#open.get(key)?.();
    this.#open.delete(key);
  }

  /** The session is gone, and the next one does not know these mutations. */
  settleAll(): void {
    for (const key of [...this.#open.keys()]) this.settle(key);
  }
}
