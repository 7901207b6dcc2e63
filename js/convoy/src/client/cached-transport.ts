/**
 * A transport whose live queries begin with the results that an earlier page has stored (`result-cache.ts`). A
 * subscription waits until the store is read, so that the server is sent the hash of what is displayed already.
 */
import type { AsyncStore } from './async-store.js';
import type { ResultCache } from './result-cache.js';
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
   * Who is signed in, such as a user's id. Results are displayed only to the one they were sent to. With `null`, nothing
   * is read or stored. When it changes, and when a query fails with `UNAUTHORIZED` or `FORBIDDEN`, they are deleted.
   */
  readonly scope: () => string | null;
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
const MAX_WAIT_MS = 1_000;

export class CachedTransport implements Transport {
  readonly #transport: Transport;
  readonly #options: CacheOptions;
  /** Clients with the same name share their results. */
  readonly #name: string;
  /** Who was signed in at first. */
  readonly #firstScope: string | null;
  #cache: Promise<ResultCache | null> | null = null;

  constructor(transport: Transport, options: CacheOptions, name: string) {
    this.#transport = transport;
    this.#options = options;
    this.#name = name;
    this.#firstScope = options.scope();
  }

  /** The connection of the default transport, for development tools. */
  get connection(): unknown {
    return (this.#transport as { readonly connection?: unknown }).connection;
  }

  call(request: CallRequest): Promise<unknown> {
    return this.#transport.call(request);
  }

  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription {
    // Results belong to the one who has subscribed: until a session has the next token, they are not of the next one.
    const scope = this.#options.scope();
    if (request.persist === false || scope === null) return this.#transport.subscribe(request, sink);
    const entry = { name: request.name, args: request.args, scope };
    let cache: ResultCache | null = null;
    let open: Subscription | null = null;
    let closed = false;
    const onAnswer = (answer: QueryAnswer) => {
      if (answer.type === 'result') cache?.set(entry, answer.data, answer.version);
      else if (answer.type === 'same') cache?.confirm(entry);
      else if (revokesData(answer.error)) cache?.clear();
    };
    const start = async () => {
      cache = await Promise.race([this.#loaded(), after(MAX_WAIT_MS)]);
      if (closed) return;
      const initial = request.initial ?? cache?.get(entry);
      if (initial !== undefined) sink.initial?.(initial.data);
      open = this.#transport.subscribe({ ...request, initial, onAnswer }, sink);
    };
    void start();
    return {
      // Before it is open, the result is requested anyway.
      refresh: (options) => open?.refresh(options),
      isBehind: () => open?.isBehind?.() ?? false,
      close: () => {
        closed = true;
        open?.close();
      },
    };
  }

  refreshAuth(): void {
    if (this.#cache !== null || this.#options.scope() !== this.#firstScope) {
      void this.#loaded().then((cache) => cache?.callerChanged());
    }
    this.#transport.refreshAuth?.();
  }

  close(): void {
    void this.#cache?.then((cache) => cache?.close());
    this.#transport.close();
  }

  /** The cache, once its code and its content are loaded; `null` where that fails. */
  #loaded(): Promise<ResultCache | null> {
    this.#cache ??= this.#load();
    return this.#cache;
  }

  async #load(): Promise<ResultCache | null> {
    try {
      const { ResultCache } = await import('./result-cache.js');
      return await ResultCache.open(this.#options, this.#name, this.#firstScope);
    } catch (error) {
      console.warn('Convoy: results of live queries are not kept, because their store fails.', error);
      return null;
    }
  }
}

function after(ms: number): Promise<null> {
  return new Promise((resolve) => {
    const timer: unknown = setTimeout(() => resolve(null), ms);
    (timer as { unref?: () => void }).unref?.();
  });
}
