/**
 * Live queries of one client, shared: everyone who watches the same function with the same arguments stands on one
 * subscription, opened for the first and closed a moment after the last.
 *
 * The moment (`LINGER_MS`) is there because screens let go and take hold again in one breath: StrictMode, a changed
 * route, a list rendered again.
 */
import { askOnce } from './one-shot-query.js';
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
const LINGER_MS = 1_000;

/** A live query as a framework sees it: made for free, and open only while someone listens. */
export interface LiveQuery<Data> {
  /** The latest snapshot; the same object until something changes. Pending while no one listens. */
  getSnapshot(): QuerySnapshot<Data>;
  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
  /** Asks again; resolves with the next answer, or with `null` where it fails or no one listens. Never rejects. */
  refetch(): Promise<Data | null>;
  /**
   * The snapshot may lack a change that this process has been told of: a mutation by another client of the same server
   * was answered, and its effects are on their way here.
   */
  isBehind(): boolean;
}

/** Whether a query keeps itself current, or is asked once. */
export type Liveness = 'live' | 'once';

export interface QueryRequest extends SubscribeRequest {
  readonly liveness: Liveness;
}

export class LiveQueries {
  readonly #transport: Transport;
  readonly #lingerMs: number;
  readonly #shared = new Map<string, SharedQuery>();
  readonly #connectionListeners = new Set<() => void>();
  #connectionState: QueryConnectionState = 'closed';
  #newsComing = false;

  constructor(transport: Transport, lingerMs = LINGER_MS) {
    this.#transport = transport;
    this.#lingerMs = lingerMs;
  }

  /** The state of all live queries together: `open` when all are, `closed` when none is wanted. */
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
    const pending = pendingOf(request.liveness);
    return {
      getSnapshot: () => this.#shared.get(key)?.snapshot ?? pending,
      subscribe: (listener) => this.#sharedFor(key, request).listen(listener),
      refetch: () => this.#shared.get(key)?.refetch() ?? Promise.resolve(null),
      isBehind: () => this.#shared.get(key)?.isBehind() ?? false,
    };
  }

  /** Stops them all; those who still listen keep what was known last. */
  close(): void {
    for (const shared of this.#shared.values()) shared.stop();
  }

  #sharedFor(key: string, request: QueryRequest): SharedQuery {
    const existing = this.#shared.get(key);
    if (existing) return existing;
    const shared: SharedQuery = new SharedQuery(this.#transport, request, {
      lingerMs: this.#lingerMs,
      news: () => this.#news(),
      ended: () => {
        this.#shared.delete(key);
        shared.tell();
        this.#news();
      },
    });
    this.#shared.set(key, shared);
    this.#news();
    return shared;
  }

  #connectionMayHaveChanged(): void {
    const states = new Set([...this.#shared.values()].map(({ snapshot }) => snapshot.connectionState));
    const together = (['connecting', 'open'] as const).find((state) => states.has(state)) ?? 'closed';
    if (together === this.#connectionState) return;
    this.#connectionState = together;
    notify(this.#connectionListeners);
  }

  /** Tells listeners at the next microtask: what is reported before then belongs together, and none sees a part of it. */
  #news(): void {
    if (this.#newsComing) return;
    this.#newsComing = true;
    queueMicrotask(() => {
      this.#newsComing = false;
      this.#connectionMayHaveChanged();
      for (const shared of [...this.#shared.values()]) shared.tell();
    });
  }
}

/** What is known of a query before its first listener. */
export function pendingOf(liveness: Liveness): QuerySnapshot<never> {
  return liveness === 'live' ? PENDING : PENDING_UNCONNECTED;
}

interface SharedQueryHooks {
  readonly lingerMs: number;
  /** There is something to tell. */
  news(): void;
  ended(): void;
}

/** One subscription and everyone who listens to it. */
class SharedQuery {
  snapshot: QuerySnapshot<unknown>;
  readonly #subscription: Subscription;
  readonly #hooks: SharedQueryHooks;
  readonly #listeners = new Set<() => void>();
  /** What the listeners were told last. */
  #told: QuerySnapshot<unknown>;
  readonly #waitingForAnswer: ((data: unknown) => void)[] = [];
  /** Those whose answer has come, once the listeners know it. */
  readonly #answered: (() => void)[] = [];
  #linger: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  constructor(transport: Transport, { liveness, name, args }: QueryRequest, hooks: SharedQueryHooks) {
    this.#hooks = hooks;
    this.snapshot = pendingOf(liveness);
    this.#told = this.snapshot;
    const sink: SubscriptionSink = {
      result: (data) => this.#hold(withResult(this.snapshot, data), 'answer'),
      same: () => this.#hold(withSame(this.snapshot), 'answer'),
      failed: (error) => this.#hold(withFailure(this.snapshot, error), 'answer'),
      connection: (view) => this.#hold(withConnection(this.snapshot, view), 'view'),
    };
    this.#subscription =
      liveness === 'live' ? transport.subscribe({ name, args }, sink) : askOnce(transport, { name, args }, sink);
  }

  listen(listener: () => void): () => void {
    clearTimeout(this.#linger);
    // Wrapped, so that one function subscribed twice is two listeners.
    const own = () => listener();
    this.#listeners.add(own);
    return () => {
      if (!this.#listeners.delete(own) || this.#listeners.size > 0) return;
      this.#linger = setTimeout(() => {
        this.stop();
        this.#hooks.ended();
      }, this.#hooks.lingerMs);
    };
  }

  isBehind(): boolean {
    return !this.#stopped && (this.#subscription.isBehind?.() ?? false);
  }

  refetch(): Promise<unknown> {
    // Nothing will answer any more.
    if (this.#stopped) return Promise.resolve(null);
    const answered = new Promise<unknown>((resolve) => this.#waitingForAnswer.push(resolve));
    this.#subscription.refresh();
    return answered;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#linger);
    this.#subscription.close();
    this.#hold(withConnection(this.snapshot, { connectionState: 'closed', isReconnecting: false }), 'answer');
  }

  /** Tells what has not been told, and then those who wait for an answer that it has come. */
  tell(): void {
    if (this.snapshot !== this.#told) {
      this.#told = this.snapshot;
      notify(this.#listeners);
    }
    for (const resolve of this.#answered.splice(0)) resolve();
  }

  #hold(snapshot: QuerySnapshot<unknown>, what: 'answer' | 'view'): void {
    this.snapshot = snapshot;
    if (what === 'answer') {
      const data = snapshot.status === 'success' && !this.#stopped ? snapshot.data : null;
      this.#answered.push(...this.#waitingForAnswer.splice(0).map((resolve) => () => resolve(data)));
    }
    this.#hooks.news();
  }
}

/** A listener that throws must not keep the next one, or the stream, from going on; its error surfaces as uncaught. */
function notify(listeners: ReadonlySet<() => void>): void {
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
