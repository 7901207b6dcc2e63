/**
 * The transport of a client that keeps results (`cached-transport.ts`): its code is loaded when the client is created,
 * and queries wait for it, in their order. Other calls do not wait. If it cannot be loaded, nothing is kept.
 */
import type { CachedTransport, CacheOptions } from './cached-transport.js';
import { scopeOf } from './check-options.js';
import { deferredSubscription } from './deferred-subscription.js';
import type { CallRequest, SubscribeRequest, Subscription, SubscriptionSink, Transport } from './transport.js';

export class LazyCachedTransport implements Transport {
  readonly #direct: Transport;
  readonly #loading: Promise<Transport>;
  /** Takes the place of `#direct`. */
  #loaded: CachedTransport | null = null;

  /** Clients with the same name share their results. */
  constructor(direct: Transport, options: CacheOptions, name: string) {
    this.#direct = direct;
    this.#loading = this.#load(options, name, scopeOf(options));
  }

  /** The connection of the default transport, for development tools. */
  get connection(): unknown {
    return (this.#direct as { readonly connection?: unknown }).connection;
  }

  async call(request: CallRequest): Promise<unknown> {
    // In `pagehide` there is no later moment.
    const waits = this.#loaded === null && request.kind === 'query' && request.keepalive !== true;
    return (waits ? await this.#loading : this.#transport).call(request);
  }

  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription {
    if (this.#loaded !== null) return this.#loaded.subscribe(request, sink);
    return deferredSubscription(this.#loading, (transport) => transport.subscribe(request, sink));
  }

  refreshAuth(): void {
    if (this.#loaded !== null) this.#loaded.refreshAuth();
    else void this.#loading.then((transport) => transport.refreshAuth?.());
  }

  close(): void {
    this.#transport.close();
  }

  get #transport(): Transport {
    return this.#loaded ?? this.#direct;
  }

  async #load(options: CacheOptions, name: string, firstScope: string | null): Promise<Transport> {
    try {
      const { CachedTransport } = await import('./cached-transport.js');
      this.#loaded = new CachedTransport(this.#direct, { options, name, firstScope });
    } catch (error) {
      console.warn(
        'Convoy: results of live queries are not kept, because a part of the client could not be loaded.',
        error,
      );
    }
    return this.#transport;
  }
}
