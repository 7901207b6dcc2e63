/**
 * The document cache of one call: documents it has read and not written since, and the pending writes per document.
 * Shared by every `CallDatabase` of the call, so that joined functions see each other's writes.
 */

import type { Reader } from './row-security/operation-role.js';

/** A document as returned to a handler. */
export type Document = Record<string, unknown>;

export class Documents {
  /** By id. A patch is merged with the cached document. */
  readonly #cached = new Map<string, Document>();
  /**
   * Those read under the role of the connection, in a program with row-level security. If a caller's patch were merged
   * with one of them, its errors would tell of a document that the caller must not see.
   */
  #cachedBySystem: Map<string, Document> | null = null;
  /** The last pending write to each document, by id. */
  readonly #pendingWrites = new Map<string, Promise<unknown>>();

  cached(id: string, reader: Reader): Document | undefined {
    return (reader === 'system' ? this.#cachedBySystem : this.#cached)?.get(id);
  }

  /** Keeps a shallow copy, because the handler may change the original. Only the checks of later writes read it. */
  cache(document: Document, reader: Reader): void {
    if (reader === 'system') this.#cachedBySystem ??= new Map();
    const cached = reader === 'system' ? this.#cachedBySystem : this.#cached;
    cached?.set(String(document.id), { ...document });
  }

  forget(id: string): void {
    this.#cached.delete(id);
    this.#cachedBySystem?.delete(id);
  }

  /** For operations that may have changed any document. */
  forgetAll(): void {
    this.#cached.clear();
    this.#cachedBySystem?.clear();
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
