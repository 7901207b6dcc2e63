/**
 * What one call knows of documents: those it has read and nobody of it has written since, and which have a write under
 * way. Shared by every database of the call, so that functions run by functions see each other's writes.
 */

/** A document as it is read. */
export type Document = Record<string, unknown>;

export class Documents {
  /** By id; what a patch is merged with. */
  readonly #known = new Map<string, Document>();
  /** The last write to a document that has not settled, by id. */
  readonly #writing = new Map<string, Promise<unknown>>();

  known(id: string): Document | undefined {
    return this.#known.get(id);
  }

  /** Keeps a shallow copy, because the caller may change theirs; only checks of later writes look at it. */
  remember(document: Document): void {
    this.#known.set(String(document.id), { ...document });
  }

  forget(id: string): void {
    this.#known.delete(id);
  }

  /** After something that may have changed any document. */
  forgetAll(): void {
    this.#known.clear();
  }

  /** Whether any document has a write under way. */
  get areWritten(): boolean {
    return this.#writing.size > 0;
  }

  /** Runs `write` when no earlier write to one of these documents is under way; at once where none is. */
  inOrder<T>(ids: readonly string[], write: () => Promise<T>): Promise<T> {
    const result = this.afterWrites(ids, write);
    for (const id of ids) this.#writing.set(id, result);
    const done = (): void => {
      for (const id of ids) if (this.#writing.get(id) === result) this.#writing.delete(id);
    };
    result.then(done, done);
    return result;
  }

  /** Runs `read` when the writes to these documents that were issued before it are over, however they ended. */
  afterWrites<T>(ids: readonly string[], read: () => Promise<T>): Promise<T> {
    if (this.#writing.size === 0) return read();
    const before = ids.map((id) => this.#writing.get(id)).filter((write) => write !== undefined);
    return before.length === 0 ? read() : Promise.allSettled(before).then(read);
  }
}
