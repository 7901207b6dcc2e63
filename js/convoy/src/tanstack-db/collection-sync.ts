/**
 * One run of a collection's sync: live queries whose rows go to the collection, from `startSync` to `cleanup`.
 *
 * An eager collection has one live query. One on demand has a live query for each subset that TanStack DB has requested
 * and not released; equal arguments share one. All results that have changed are written in one transaction, so that a
 * row that moves from one subset to another is never missing.
 */
import type { CleanupFn, LoadSubsetOptions, SyncConfig } from '@tanstack/db';
import { canonicalArgs } from '../client/canonical.js';
import type { LiveQuery } from '../client/live-query.js';
import type { QuerySnapshot } from '../client/snapshot.js';
import { type RowChange, type Rows, SyncedRows } from './synced-rows.js';

/** What TanStack DB gives to a sync. */
type SyncParams<Row extends object, Key extends string | number> = Parameters<SyncConfig<Row, Key>['sync']>[0];

/** Where rows come from. */
export interface RowSource<Row, Key> {
  liveQuery(args: unknown): LiveQuery<unknown>;
  /** The arguments for a subset, or for all rows. */
  argsOf(subset?: LoadSubsetOptions): unknown;
  /** Throws where the result has no rows with keys. */
  rowsOf(result: unknown): Rows<Row, Key>;
}

/** One live query and what was last written of it. */
interface SubsetQuery<Row, Key> {
  readonly live: LiveQuery<unknown>;
  readonly stop: () => void;
  rows: Rows<Row, Key>;
  /** The snapshot with these rows; `null` before the first answer. */
  snapshot: QuerySnapshot<unknown> | null;
  error: unknown;
  /** How many requested subsets have this query. */
  holders: number;
  /** It has an outdated result of another listener, and waits for the current one. */
  isBehind: boolean;
  /** When the latest write is visible. */
  visible: true | Promise<void>;
  /** Requested subsets that wait for an answer. */
  readonly waiting: Set<{ resolve(visible?: Promise<void>): void; reject(error: unknown): void }>;
}

export class CollectionSync<Row extends object, Key extends string | number> {
  readonly #source: RowSource<Row, Key>;
  readonly #params: SyncParams<Row, Key>;
  readonly #queries = new Map<string, SubsetQuery<Row, Key>>();
  /** The query of each requested subset. TanStack DB releases a subset with the same object. */
  readonly #subsets = new Map<LoadSubsetOptions, { readonly key: string; readonly query: SubsetQuery<Row, Key> }>();
  readonly #rows = new SyncedRows<Row, Key>();
  #isEager = false;

  constructor(source: RowSource<Row, Key>, params: SyncParams<Row, Key>) {
    this.#source = source;
    this.#params = params;
  }

  /** The error of a query that fails at the moment; `null` where none does. */
  get error(): unknown {
    return [...this.#queries.values()].find(({ error }) => error !== null)?.error ?? null;
  }

  /** Keeps all rows in the collection. */
  loadAll(): { cleanup: CleanupFn } {
    this.#isEager = true;
    const args = this.#source.argsOf();
    this.#open(canonicalArgs(args), args);
    return { cleanup: () => this.#stop() };
  }

  /** Keeps requested subsets in the collection. */
  loadOnDemand() {
    this.#params.markReady();
    return {
      loadSubset: (subset: LoadSubsetOptions) => this.#load(subset),
      unloadSubset: (subset: LoadSubsetOptions) => this.#unload(subset),
      cleanup: () => this.#stop(),
    };
  }

  /**
   * Resolves when the rows have all changes that were acknowledged before the call. Without a connection this takes
   * until the client is connected again.
   */
  async caughtUp(): Promise<void> {
    const behind = [...this.#queries.values()].filter(({ live }) => live.getSnapshot().isStale || live.isBehind());
    await Promise.all(behind.map(({ live }) => live.refetch()));
  }

  #load(subset: LoadSubsetOptions): true | Promise<void> {
    const args = this.#source.argsOf(subset);
    const key = canonicalArgs(args);
    const query = this.#queries.get(key) ?? this.#open(key, args);
    query.holders += 1;
    this.#subsets.set(subset, { key, query });
    if (query.snapshot !== null && query.error === null) return query.visible;
    if (query.snapshot !== null) void query.live.refetch();
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      query.waiting.add(waiter);
      subset.signal?.addEventListener('abort', () => {
        if (query.waiting.delete(waiter)) reject(released());
      });
    });
  }

  #unload(subset: LoadSubsetOptions): void {
    const { key, query } = this.#subsets.get(subset) ?? {};
    this.#subsets.delete(subset);
    if (key === undefined || query === undefined) return;
    query.holders -= 1;
    if (query.holders > 0) return;
    this.#queries.delete(key);
    this.#close(query);
    this.#write(this.#rows.replace([{ before: query.rows, after: new Map() }]));
  }

  #open(key: string, args: unknown): SubsetQuery<Row, Key> {
    const live = this.#source.liveQuery(args);
    const query: SubsetQuery<Row, Key> = {
      live,
      stop: live.subscribe(() => this.#update()),
      rows: new Map(),
      snapshot: null,
      error: null,
      holders: 0,
      isBehind: live.isBehind(),
      visible: true,
      waiting: new Set(),
    };
    this.#queries.set(key, query);
    if (query.isBehind) {
      void live.refetch().then(() => {
        query.isBehind = false;
        this.#update();
      });
    }
    // Another listener may have requested the same result before.
    this.#update();
    return query;
  }

  /** Writes the latest results of all queries. The client has them all when it notifies the first listener. */
  #update(): void {
    const answered = [...this.#queries.values()].filter((query) => {
      const { status, isStale } = query.live.getSnapshot();
      // Only a result that claims to be current must wait for the current one.
      query.isBehind &&= status === 'success' && !isStale;
      return status !== 'pending' && !query.isBehind && query.live.getSnapshot() !== query.snapshot;
    });
    if (answered.length === 0) return;
    const isFirst = answered.every(({ snapshot }) => snapshot === null);
    const results = answered.map((query) => {
      const before = query.rows;
      this.#read(query);
      return { before, after: query.rows };
    });
    const changes = this.#rows.replace(results);
    const visible = this.#write(changes);
    // Each page of an ordered list follows its own query, so rows may now be between two pages.
    if (changes.length > 0 && !isFirst && !this.#isEager) this.#params.invalidateLoadedSubsets();
    for (const query of answered) this.#answer(query, visible);
  }

  #read(query: SubsetQuery<Row, Key>): void {
    const snapshot = query.live.getSnapshot();
    const { status, data, error } = snapshot;
    const isSame = query.error === null && data === query.snapshot?.data;
    query.snapshot = snapshot;
    query.error = error;
    if (isSame) return;
    try {
      // After an error without data, the caller may not see the last result any more.
      query.rows = status === 'error' && data === null ? new Map() : this.#source.rowsOf(data);
    } catch (error) {
      query.error = error;
    }
  }

  #write(changes: readonly RowChange<Row, Key>[]): true | Promise<void> {
    if (changes.length === 0) return true;
    const { begin, write, commit } = this.#params;
    begin();
    for (const change of changes) write(change);
    return commit();
  }

  #answer(query: SubsetQuery<Row, Key>, visible: true | Promise<void>): void {
    query.visible = visible;
    const waiting = [...query.waiting];
    query.waiting.clear();
    for (const { resolve, reject } of waiting) {
      if (query.error !== null) reject(query.error);
      else resolve(visible === true ? undefined : visible);
    }
    if (!this.#isEager) return;
    if (query.error === null) this.#params.markReady();
    else this.#params.markError(query.error);
  }

  #close({ stop, waiting }: SubsetQuery<Row, Key>): void {
    stop();
    for (const { reject } of waiting) reject(released());
    waiting.clear();
  }

  #stop(): void {
    for (const query of this.#queries.values()) this.#close(query);
    this.#queries.clear();
    this.#subsets.clear();
  }
}

/** A subset is not requested any more, so that its rows will not come. */
function released(): DOMException {
  return new DOMException('The subset of the collection was released before it was loaded.', 'AbortError');
}
