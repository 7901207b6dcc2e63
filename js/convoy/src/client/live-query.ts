/**
 * Shares the live queries of one client: all listeners of the same function with the same arguments share one
 * subscription, opened for the first listener and closed a short time after the last.
 *
 * That time (`RETENTION_MS`) is there because components often unsubscribe and subscribe again at once: StrictMode, a
 * changed route, a list rendered again.
 */
import { oneShotQuery } from './one-shot-query.js';
import {
  PENDING,
  PENDING_UNCONNECTED,
  type QuerySnapshot,
  withConnection,
  withFailure,
  withResult,
  withSame,
} from './snapshot.js';
import type { QueryConnectionState, SubscribeRequest, Subscription, SubscriptionSink, Transport } from './transport.js';

/** How long a subscription outlives its last listener. */
const RETENTION_MS = 1_000;

/** A live query as frameworks use it: free to create, and subscribed only while it has listeners. */
export interface LiveQuery<Data> {
  /** The latest snapshot; the same object until something changes. Pending without listeners. */
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

/** Whether a query keeps itself current, or is called once. */
export type Liveness = 'live' | 'once';

export interface QueryRequest extends SubscribeRequest {
  readonly liveness: Liveness;
}

export class LiveQueries {
  readonly #transport: Transport;
  readonly #retentionMs: number;
  readonly #shared = new Map<string, SharedQuery>();
  readonly #connectionListeners = new Set<() => void>();
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

  query(request: QueryRequest): LiveQuery<unknown> {
    const key = `${request.liveness} ${request.name} ${request.args}`;
    const pending = pendingSnapshot(request.liveness);
    return {
      getSnapshot: () => this.#shared.get(key)?.snapshot ?? pending,
      subscribe: (listener) => this.#sharedFor(key, request).listen(listener),
      refetch: () => this.#shared.get(key)?.refetch() ?? Promise.resolve(null),
      isBehind: () => this.#shared.get(key)?.isBehind() ?? false,
    };
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
      changed: () => this.#scheduleNotify(),
      expired: () => {
        this.#shared.delete(key);
        shared.notify();
        this.#scheduleNotify();
      },
    });
    this.#shared.set(key, shared);
    this.#scheduleNotify();
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
  #scheduleNotify(): void {
    if (this.#notifyScheduled) return;
    this.#notifyScheduled = true;
    queueMicrotask(() => {
      this.#notifyScheduled = false;
      this.#updateConnectionState();
      for (const shared of [...this.#shared.values()]) shared.notify();
    });
  }
}

/** The snapshot of a query before its first listener. */
export function pendingSnapshot(liveness: Liveness): QuerySnapshot<never> {
  return liveness === 'live' ? PENDING : PENDING_UNCONNECTED;
}

interface SharedQueryHooks {
  readonly retentionMs: number;
  /** The snapshot, or a pending refetch, has changed. */
  changed(): void;
  /** The retention after the last listener is over. */
  expired(): void;
}

/** One subscription and its listeners. */
class SharedQuery {
  snapshot: QuerySnapshot<unknown>;
  readonly #subscription: Subscription;
  readonly #hooks: SharedQueryHooks;
  readonly #listeners = new Set<() => void>();
  /** The snapshot of the last notification. */
  #lastNotified: QuerySnapshot<unknown>;
  readonly #pendingRefetches: ((data: unknown) => void)[] = [];
  /** Refetches whose result has arrived; they resolve after the listeners are notified. */
  readonly #completedRefetches: (() => void)[] = [];
  #retentionTimer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  constructor(transport: Transport, { liveness, name, args }: QueryRequest, hooks: SharedQueryHooks) {
    this.#hooks = hooks;
    this.snapshot = pendingSnapshot(liveness);
    this.#lastNotified = this.snapshot;
    const sink: SubscriptionSink = {
      result: (data) => this.#update(withResult(this.snapshot, data), 'result'),
      same: () => this.#update(withSame(this.snapshot), 'result'),
      failed: (error) => this.#update(withFailure(this.snapshot, error), 'result'),
      connection: (view) => this.#update(withConnection(this.snapshot, view), 'connection'),
    };
    this.#subscription =
      liveness === 'live' ? transport.subscribe({ name, args }, sink) : oneShotQuery(transport, { name, args }, sink);
  }

  listen(listener: () => void): () => void {
    clearTimeout(this.#retentionTimer);
    // Wrapped, so that one function subscribed twice is two listeners.
    const own = () => listener();
    this.#listeners.add(own);
    return () => {
      if (!this.#listeners.delete(own) || this.#listeners.size > 0) return;
      this.#retentionTimer = setTimeout(() => {
        this.stop();
        this.#hooks.expired();
      }, this.#hooks.retentionMs);
    };
  }

  isBehind(): boolean {
    return !this.#stopped && (this.#subscription.isBehind?.() ?? false);
  }

  refetch(): Promise<unknown> {
    // No further result will arrive.
    if (this.#stopped) return Promise.resolve(null);
    const result = new Promise<unknown>((resolve) => this.#pendingRefetches.push(resolve));
    this.#subscription.refresh();
    return result;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#retentionTimer);
    this.#subscription.close();
    this.#update(withConnection(this.snapshot, { connectionState: 'closed', isReconnecting: false }), 'result');
  }

  /** Notifies the listeners of a changed snapshot, and then resolves the completed refetches. */
  notify(): void {
    if (this.snapshot !== this.#lastNotified) {
      this.#lastNotified = this.snapshot;
      notifyListeners(this.#listeners);
    }
    for (const resolve of this.#completedRefetches.splice(0)) resolve();
  }

  /** Stores `snapshot`; a `result` (or failure) also completes the pending refetches. */
  #update(snapshot: QuerySnapshot<unknown>, cause: 'result' | 'connection'): void {
    this.snapshot = snapshot;
    if (cause === 'result') {
      const data = snapshot.status === 'success' && !this.#stopped ? snapshot.data : null;
      this.#completedRefetches.push(...this.#pendingRefetches.splice(0).map((resolve) => () => resolve(data)));
    }
    this.#hooks.changed();
  }
}

/** Isolates listeners: an error thrown by one surfaces as uncaught, and the others and the stream go on. */
function notifyListeners(listeners: ReadonlySet<() => void>): void {
  for (const listener of [...listeners]) {
    try {
      listener();
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}
