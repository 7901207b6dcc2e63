/**
 * The document cache of one call: documents it has read and not written since, and the pending writes per document.
 * Shared by every `CallDatabase` of the call, so that joined functions see each other's writes.
 */

/** A document as returned to a handler. */
export type Document = Record<string, unknown>;

export class Documents {
  /** By id. A patch is merged with the cached document. */
  readonly #cached = new Map<string, Document>();
  /** The last pending write to each document, by id. */
  readonly #pendingWrites = new Map<string, Promise<unknown>>();

  cached(id: string): Document | undefined {
    return this.#cached.get(id);
  }

  /** Keeps a shallow copy, because the handler may change the original. Only the checks of later writes read it. */
  cache(document: Document): void {
    this.#cached.set(String(document.id), { ...document });
  }

  forget(id: string): void {
    this.#cached.delete(id);
  }

  /** For operations that may have changed any document. */
  forgetAll(): void {
    this.#cached.clear();
  }

  /** Whether any document has a pending write. */
  get hasPendingWrites(): boolean {
    return this.#pendingWrites.size > 0;
  }

  /** Runs `write` after all earlier writes to these documents; at once if none is pending. */
  inOrder<T>(ids: readonly string[], write: () => Promise<T>): Promise<T> {
    const result = this.afterWrites(ids, write);
    for (const id of ids) this.#pendingWrites.set(id, result);
    const done = (): void => {
      for (const id of ids) if (this.#pendingWrites.get(id) === result) this.#pendingWrites.delete(id);
    };
    result.then(done, done);
    return result;
  }

  /** Runs `read` after the earlier writes to these documents have settled. */
  afterWrites<T>(ids: readonly string[], read: () => Promise<T>): Promise<T> {
    if (this.#pendingWrites.size === 0) return read();
    const before = ids.map((id) => this.#pendingWrites.get(id)).filter((write) => write !== undefined);
    return before.length === 0 ? read() : Promise.allSettled(before).then(read);
  }
}
