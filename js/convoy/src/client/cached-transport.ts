/**
 * A transport whose live queries begin with the results that an earlier page has stored (`result-cache.ts`). A
 * subscription waits until the store is read, so that the server is sent the hash of what is displayed already.
 */
import { type ConvoyError, isConvoyError } from '../values/errors.js';
import type { AsyncStore } from './async-store.js';
import { deferredSubscription } from './deferred-subscription.js';
import { cacheScope, ResultCache } from './result-cache.js';
import { revokesData } from './snapshot.js';
import type {
  CallRequest,
  QueryAnswer,
  SubscribeRequest,
  Subscription,
  SubscriptionSink,
  Transport,
} from './transport.js';

/** Keeps the results of live queries in a store that outlives the page. */
export interface CacheOptions {
  /** Where they are kept, such as `indexedDbStore()`. */
  readonly store: AsyncStore;
  /**
   * Who is signed in, such as a user's id. Results are displayed only to the one they were sent to. With `null` or
   * `undefined`, nothing is read or stored. When it changes, and when a query fails with `UNAUTHORIZED` or `FORBIDDEN`,
   * they are deleted.
   */
  readonly scope: () => string | null | undefined;
  /**
   * The version of the application, such as the hash of its commit: results that another version has stored are
   * deleted, because they may have another form.
   */
  readonly build?: string;
  /** How long a result is kept after the server has sent or confirmed it, in milliseconds. By default one day. */
  readonly maxAgeMs?: number;
  /** How many bytes of results are kept; the oldest are deleted first. By default 4 MiB. */
  readonly maxBytes?: number;
}

/** How long a query waits for a store that does not respond. */
export const MAX_WAIT_MS = 1_000;

export interface CachedTransportOptions {
  readonly options: CacheOptions;
  /** Clients with the same name share their results. */
  readonly name: string;
  /** Who was signed in when the client was created. */
  readonly firstScope: string | null;
}

export class CachedTransport implements Transport {
  readonly #transport: Transport;
  readonly #options: CacheOptions;
  /** Clients with the same name share their results. */
  readonly #name: string;
  /** Who was signed in at first. */
  readonly #firstScope: string | null;
  /** The caller of the connection, as far as `refreshAuth` has told. */
  #scope: string | null;
  /** Counts its changes. */
  #callers = 0;
  /** The cache, once its code and its content are loaded. */
  #cache: ResultCache | null = null;
  /** Resolves when it is loaded, cannot be loaded, or takes too long. */
  #loading: Promise<void> | null = null;
  /** What is kept has to be deleted as soon as it is loaded. */
  #isRevoked = false;
  #closed = false;

  constructor(transport: Transport, { options, name, firstScope }: CachedTransportOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#name = name;
    this.#firstScope = firstScope;
    this.#scope = firstScope;
  }

  async call(request: CallRequest): Promise<unknown> {
    try {
      return await this.#transport.call(request);
    } catch (error) {
      if (request.kind === 'query' && isConvoyError(error)) this.#refused(error);
      throw error;
    }
  }

  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription {
    const scope = cacheScope(this.#options);
    this.#scope ??= scope;
    // Until `refreshAuth`, the connection is still that of the one before.
    const isKept = request.persist !== false && scope !== null && scope === this.#scope && !this.#closed;
    return isKept ? this.#subscribe(request, sink, scope) : this.#transport.subscribe(this.#observed(request), sink);
  }

  refreshAuth(): void {
    const scope = cacheScope(this.#options);
    if (scope !== this.#scope) this.#callers += 1;
    this.#scope = scope;
    if (scope !== this.#firstScope) void this.#load();
    this.#cache?.callerChanged();
    this.#transport.refreshAuth?.();
  }

  close(): void {
    this.#closed = true;
    this.#cache?.close();
    this.#transport.close();
  }

  #subscribe(request: SubscribeRequest, sink: SubscriptionSink, scope: string): Subscription {
    const entry = { name: request.name, args: request.args, scope };
    const caller = this.#callers;
    let kept: Pick<SubscribeRequest, 'initial' | 'onAnswer'> = request;
    const onAnswer = (answer: QueryAnswer) => {
      if (answer.type === 'failed') this.#refused(answer.error);
      // What arrives after another caller has signed in may still be the result of the one before.
      else if (caller === this.#callers) kept.onAnswer?.(answer);
    };
    return deferredSubscription(this.#load(), () => {
      kept = this.#cache?.begin(entry, request.initial, sink) ?? request;
      return this.#transport.subscribe({ ...request, initial: kept.initial, onAnswer }, sink);
    });
  }

  /** A request that is not kept: a refusal still ends what is kept. */
  #observed(request: SubscribeRequest): SubscribeRequest {
    return { ...request, onAnswer: (answer) => answer.type === 'failed' && this.#refused(answer.error) };
  }

  #refused(error: ConvoyError): void {
    if (!revokesData(error) || this.#closed) return;
    this.#isRevoked = this.#cache === null;
    this.#cache?.clear();
    void this.#load();
  }

  /** Loads the cache. All queries of a page wait for it, but not for a store that does not respond. */
  #load(): Promise<void> {
    this.#loading ??= new Promise((resolve) => {
      const timer = setTimeout(resolve, MAX_WAIT_MS);
      void this.#open().then(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    return this.#loading;
  }

  async #open(): Promise<void> {
    for (const name of ['maxAgeMs', 'maxBytes'] as const) {
      const limit: unknown = this.#options[name];
      if (limit === undefined || (typeof limit === 'number' && limit >= 0)) continue;
      const problem = `\`${name}\` must be a number that is not negative, not ${String(limit)}.`;
      return console.error(`Convoy: results of live queries are not kept: ${problem}`);
    }
    try {
      const cache = await ResultCache.open(this.#options, this.#name, this.#firstScope);
      this.#cache = cache;
      cache.callerChanged();
      if (this.#isRevoked) cache.clear();
      if (this.#closed) cache.close();
    } catch (error) {
      console.warn('Convoy: results of live queries are not kept, because their store fails.', error);
    }
  }
}
