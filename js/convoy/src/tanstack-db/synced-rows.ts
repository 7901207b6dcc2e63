/**
 * The rows of several results as one set. A row is in the set while it is in any result. Pure, apart from its state: it
 * turns replaced results into the smallest list of changes to the set.
 *
 * Rows are compared by identity, which the client keeps for unchanged rows. Equal copies are written, and TanStack DB
 * reports no change for them.
 */

/** The rows of one result, by key. */
export type Rows<Row, Key> = ReadonlyMap<Key, Row>;

/** One result and the one that takes its place. */
export interface Replacement<Row, Key> {
  readonly before: Rows<Row, Key>;
  readonly after: Rows<Row, Key>;
}

export type RowChange<Row, Key> =
  | { readonly type: 'insert' | 'update'; readonly value: Row }
  | { readonly type: 'delete'; readonly key: Key };

export class SyncedRows<Row, Key> {
  readonly #rows = new Map<Key, Row>();
  /** In how many results each row is. */
  readonly #counts = new Map<Key, number>();

  /** Replaces results, all of the same state of the database, and returns what changes. */
  replace(results: readonly Replacement<Row, Key>[]): RowChange<Row, Key>[] {
    const changed = new Map<Key, Row>();
    const removed = new Set<Key>();
    for (const { before, after } of results) {
      for (const [key, row] of after) {
        if (!before.has(key)) this.#count(key, 1);
        if (before.get(key) !== row) changed.set(key, row);
      }
      for (const key of before.keys()) {
        if (after.has(key)) continue;
        this.#count(key, -1);
        removed.add(key);
      }
    }
    return [...this.#deletes(removed), ...this.#writes(changed)];
  }

  #count(key: Key, by: number): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + by);
  }

  /** Those in no result any more. */
  *#deletes(keys: Iterable<Key>): Iterable<RowChange<Row, Key>> {
    for (const key of keys) {
      if (this.#counts.get(key) !== 0) continue;
      this.#counts.delete(key);
      if (this.#rows.delete(key)) yield { type: 'delete', key };
    }
  }

  *#writes(rows: Iterable<[Key, Row]>): Iterable<RowChange<Row, Key>> {
    for (const [key, value] of rows) {
      if (!this.#counts.has(key)) continue;
      const before = this.#rows.get(key);
      if (before === value) continue;
      this.#rows.set(key, value);
      yield { type: before === undefined ? 'insert' : 'update', value };
    }
  }
}
