/**
 * Committed mutations whose changes this client has not been sent yet. Each resolves when the session reports it as
 * settled, when the session ends (no other one can report it), or after a timeout.
 */

export interface PendingMutation {
  /** Resolves when the mutation's changes were sent, or after `timeoutMs`. */
  visible(timeoutMs: number): Promise<void>;
  /** Stops tracking the mutation. */
  remove(): void;
}

export class PendingMutations {
  readonly #resolvers = new Map<string, () => void>();

  /** Tracks the mutation `key` from now on; it may settle before its response arrives. */
  add(key: string): PendingMutation {
    const settled = new Promise<void>((resolve) => this.#resolvers.set(key, resolve));
    return {
      visible: async (timeoutMs) => {
        const timer = setTimeout(() => this.resolve(key), timeoutMs);
        await settled;
        clearTimeout(timer);
      },
      remove: () => this.#resolvers.delete(key),
    };
  }

  resolve(key: string): void {
    this.#resolvers.get(key)?.();
    this.#resolvers.delete(key);
  }

  /** Resolves all: the session has ended, and the next session cannot report these mutations. */
  resolveAll(): void {
    for (const key of [...this.#resolvers.keys()]) this.resolve(key);
  }
}
