/**
 * Shares the live queries of one client: all listeners of the same function with the same arguments share one
 * subscription, opened for the first listener and closed a short time after the last.
 *
 * That time (`RETENTION_MS`) is there because components often unsubscribe and subscribe again at once: StrictMode, a
 * changed route, a list rendered again.
 */
import { copyList } from './list-patch.js';
import { notifyListeners } from './listeners.js';
import type { OptimisticLayers } from './optimistic-layers.js';
import { firstSnapshot, type QueryRequest, SharedQuery } from './shared-query.js';
import type { QuerySnapshot } from './snapshot.js';
import type { QueryConnectionState, Transport } from './transport.js';

/** How long a subscription outlives its last listener. */
const RETENTION_MS = 1_000;

/** A live query as frameworks use it: free to create, and subscribed only while it has listeners. */
export interface LiveQuery<Data> {
  /** The latest snapshot; the same object until something changes. Without listeners pending, or the initial result. */
  getSnapshot(): QuerySnapshot<Data>;
  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
  /**
   * Requests the result again; resolves with the next result, or with `null` where the query fails or has no listeners.
   * Never rejects.
   */
  refetch(): Promise<Data | null>;
  /**
   * The snapshot may lack an acknowledged change: the server responded to a mutation by another client in this process,
   * and its effects have not arrived here yet.
   */
  isBehind(): boolean;
}

export class LiveQueries {
  readonly #transport: Transport;
  readonly #retentionMs: number;
  readonly #shared = new Map<string, SharedQuery>();
  readonly #connectionListeners = new Set<() => void>();
  /** The optimistic updates of mutations in progress; `null` before the first. */
  layers: OptimisticLayers | null = null;
  /** Called after all listeners, and when mutations start and end, for development tools. */
  onChange: (() => void) | undefined;
  #connectionState: QueryConnectionState = 'closed';
  #notifyScheduled = false;

  constructor(transport: Transport, retentionMs = RETENTION_MS) {
    this.#transport = transport;
    this.#retentionMs = retentionMs;
  }

  /** The combined state of all live queries: `open` when all are, `closed` when there are none. */
  readonly connection = {
    getSnapshot: (): QueryConnectionState => this.#connectionState,
    subscribe: (listener: () => void): (() => void) => {
      // Wrapped, so that one function subscribed twice is two listeners.
      const own = () => listener();
      this.#connectionListeners.add(own);
      return () => this.#connectionListeners.delete(own);
    },
  };

  query({ initial: given, ...rest }: QueryRequest): LiveQuery<unknown> {
    const initial = given && { ...given, list: copyList(given.data) };
    const request = { ...rest, initial };
    const key = keyOf(request);
    const first = firstSnapshot(request);
    return {
      getSnapshot: () => {
        const snapshot = this.#shared.get(key)?.snapshot;
        // Another listener may wait for the first result.
        return snapshot === undefined || (snapshot.status === 'pending' && initial !== undefined) ? first : snapshot;
      },
      subscribe: (listener) => this.#sharedFor(key, request).listen(listener),
      refetch: () => this.#shared.get(key)?.refetch() ?? Promise.resolve(null),
      isBehind: () => this.#shared.get(key)?.isBehind() ?? false,
    };
  }

  /** All queries with a subscription. */
  get all(): Iterable<SharedQuery> {
    return this.#shared.values();
  }

  /** The live query of this function and arguments, if it has a subscription. */
  find(name: string, args: string): SharedQuery | undefined {
    return this.#shared.get(keyOf({ liveness: 'live', name, args }));
  }

  /** Stops all queries; remaining listeners keep the last snapshot. */
  close(): void {
    for (const shared of this.#shared.values()) shared.stop();
  }

  #sharedFor(key: string, request: QueryRequest): SharedQuery {
    const existing = this.#shared.get(key);
    if (existing) return existing;
    const shared: SharedQuery = new SharedQuery(this.#transport, request, {
      retentionMs: this.#retentionMs,
      changed: () => {
        this.layers?.invalidate();
        this.scheduleNotify();
      },
      prepare: () => this.layers?.apply(),
      expired: () => {
        this.#shared.delete(key);
        shared.notify();
        this.scheduleNotify();
      },
    });
    this.#shared.set(key, shared);
    this.scheduleNotify();
    return shared;
  }

  #updateConnectionState(): void {
    const states = new Set([...this.#shared.values()].map(({ snapshot }) => snapshot.connectionState));
    const combined = (['connecting', 'open'] as const).find((state) => states.has(state)) ?? 'closed';
    if (combined === this.#connectionState) return;
    this.#connectionState = combined;
    notifyListeners(this.#connectionListeners);
  }

  /** Notifies listeners at the next microtask, so that none sees only part of the changes reported before then. */
  scheduleNotify(): void {
    if (this.#notifyScheduled) return;
    this.#notifyScheduled = true;
    queueMicrotask(() => {
      this.#notifyScheduled = false;
      this.#updateConnectionState();
      for (const shared of [...this.#shared.values()]) shared.notify();
      this.onChange?.();
    });
  }
}

function keyOf({ liveness, name, args }: QueryRequest): string {
  return `${liveness} ${name} ${args}`;
}
