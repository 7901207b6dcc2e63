/**
 * Keeps the queries of a `QueryClient` current: one live query for each that is in use, whose results go to the cache.
 *
 * A query is in use while it has an enabled observer, or is being fetched. The events of the cache report the observers,
 * so a result that a server rendered, or that a loader has fetched before, becomes live when a component observes it.
 */
import type { Query, QueryCacheNotifyEvent, QueryClient } from '@tanstack/query-core';
import type { ConvoyClient } from '../client/client.js';
import type { LiveQuery } from '../client/live-query.js';
import { revokesData } from '../client/snapshot.js';
import { type AnyQueryRef, makeQueryRef } from '../protocol/refs.js';

/** The first part of every key. */
export const KEY = 'convoy';

/** The queries whose data are current. */
const live = new WeakSet<object>();

export function isLive(query: object): boolean {
  return live.has(query);
}

interface FetchRequest {
  readonly ref: AnyQueryRef;
  readonly args: unknown;
  readonly queryKey: readonly unknown[];
  readonly signal: AbortSignal;
}

export class LiveCache {
  readonly client: ConvoyClient;
  readonly #queryClient: QueryClient;
  readonly #entries = new Map<Query, LiveEntry>();
  readonly #unsubscribe: () => void;

  constructor(queryClient: QueryClient, client: ConvoyClient) {
    this.#queryClient = queryClient;
    this.client = client;
    this.#unsubscribe = queryClient.getQueryCache().subscribe((event) => this.#onEvent(event));
  }

  /** The first result, or one requested again. Rejects with the query's error, and when `signal` aborts. */
  fetch({ ref, args, queryKey, signal }: FetchRequest): Promise<never> {
    const query = this.#queryClient.getQueryCache().find({ queryKey, exact: true });
    // A server renders one result.
    if (query === undefined || typeof window === 'undefined') return this.client.query(ref, args) as Promise<never>;
    return this.#entryOf(query, ref, args).fetch(signal) as Promise<never>;
  }

  stop(): void {
    this.#unsubscribe();
    for (const query of [...this.#entries.keys()]) this.#drop(query);
  }

  #onEvent(event: QueryCacheNotifyEvent): void {
    const { type, query } = event;
    if (type === 'removed') this.#drop(query);
    else if (type === 'observerRemoved') this.#dropIfUnused(query);
    else if (type === 'observerAdded' || type === 'observerOptionsUpdated') {
      const [key, name, args] = query.queryKey as readonly unknown[];
      if (!query.isActive()) this.#dropIfUnused(query);
      else if (key === KEY) this.#entryOf(query, makeQueryRef(name as string), args);
    } else if (type === 'updated' && (event.action.type === 'error' || isFetched(event.action))) {
      // A newer result may have arrived between the end of the fetch and this event.
      this.#entries.get(query)?.deliver();
    }
  }

  #entryOf(query: Query, ref: AnyQueryRef, args: unknown): LiveEntry {
    const existing = this.#entries.get(query);
    if (existing) return existing;
    const entry = new LiveEntry(this.#queryClient, query, this.client.liveQuery(ref, args), () =>
      this.#dropIfUnused(query),
    );
    this.#entries.set(query, entry);
    live.add(query);
    entry.start();
    return entry;
  }

  /** After a microtask, since StrictMode removes and adds observers in the same task. */
  #dropIfUnused(query: Query): void {
    queueMicrotask(() => {
      if (!query.isActive() && this.#entries.get(query)?.isFetching === false) this.#drop(query);
    });
  }

  #drop(query: Query): void {
    this.#entries.get(query)?.stop();
    this.#entries.delete(query);
    live.delete(query);
  }
}

/** The live query of one query of the cache. */
class LiveEntry {
  readonly #queryClient: QueryClient;
  readonly #query: Query;
  readonly #live: LiveQuery<unknown>;
  readonly #fetched: () => void;
  readonly #waiting: (() => void)[] = [];
  #fetches = 0;
  /** A result or an error is in the cache, so that another fetch requests a newer one. */
  #delivered = false;
  #stop = () => {};

  /** `fetched` is called after each fetch. */
  constructor(queryClient: QueryClient, query: Query, live: LiveQuery<unknown>, fetched: () => void) {
    this.#queryClient = queryClient;
    this.#query = query;
    this.#live = live;
    this.#fetched = fetched;
  }

  get isFetching(): boolean {
    return this.#fetches > 0;
  }

  start(): void {
    this.#stop = this.#live.subscribe(() => {
      if (this.#live.getSnapshot().status !== 'pending') for (const resolve of this.#waiting.splice(0)) resolve();
      this.deliver();
    });
    // Another query of the page may have the result already. After the event of the cache, whose sender goes on.
    queueMicrotask(() => this.deliver());
  }

  stop(): void {
    this.#stop();
  }

  async fetch(signal: AbortSignal): Promise<unknown> {
    this.#fetches += 1;
    try {
      await untilAborted(this.#answer(), signal);
      const { status, data, error } = this.#live.getSnapshot();
      if (status === 'error') throw error;
      return data;
    } finally {
      this.#fetches -= 1;
      this.#fetched();
    }
  }

  /** Waits for the first answer, or for another one. */
  async #answer(): Promise<void> {
    const isPending = this.#live.getSnapshot().status === 'pending';
    if (isPending) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else if (this.#delivered || this.#live.isBehind()) await this.#live.refetch();
    this.#delivered = true;
  }

  /** Writes the latest result or error to the cache, unless a fetch does. */
  deliver(): void {
    const { status, data, error } = this.#live.getSnapshot();
    const { state, queryKey } = this.#query;
    if (status === 'pending' || this.isFetching) return;
    this.#delivered = true;
    if (status === 'success' && (state.data !== data || state.status !== 'success')) {
      this.#queryClient.setQueryData(queryKey, data);
    }
    if (status !== 'error') return;
    // A caller who may no longer run the query may not see its last result either.
    const shown = revokesData(error) ? undefined : state.data;
    if (state.error === error && state.data === shown) return;
    this.#query.setState({
      status: 'error',
      data: shown,
      error,
      errorUpdateCount: state.errorUpdateCount + 1,
      errorUpdatedAt: Date.now(),
      fetchFailureCount: 1,
      fetchFailureReason: error,
    });
  }
}

function isFetched(action: { readonly type: string; readonly manual?: boolean }): boolean {
  return action.type === 'success' && action.manual !== true;
}

/** Settles like `promise`, or rejects when `signal` aborts before it. */
function untilAborted<Result>(promise: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
