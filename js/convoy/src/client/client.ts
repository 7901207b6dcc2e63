/**
 * The client: calls functions by reference, and watches queries. All state belongs to the instance. Creating a client
 * opens no connection; the first watch does, and it is closed a short time after the last watch ends.
 */
import { nameOfRef } from '../protocol/name-of-ref.js';
import type { ActionArgument, ClientMethods, MutationArgument, QueryArgument } from '../protocol/ref-kinds.js';
import type { ApiRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import type { CacheOptions } from './cached-transport.js';
import { canonicalArgs } from './canonical.js';
import { checkOptions } from './check-options.js';
import { type AuthSource, Endpoint, type HeadersSource, type TraceparentSource } from './endpoint.js';
import { partsOf } from './inspection.js';
import { LazyCachedTransport } from './lazy-cached-transport.js';
import { LazyMutations } from './lazy-mutations.js';
import { LiveQueries, type LiveQuery } from './live-query.js';
import { LiveTransport } from './live-transport.js';
import type { OptimisticStore } from './optimistic-layers.js';
import type { PersistOptions } from './persisted-mutations.js';
import type { Liveness } from './shared-query.js';
import type { QuerySnapshot } from './snapshot.js';
import type { InitialResult, QueryConnectionState, Transport } from './transport.js';

/** Options of `createConvoyClient`; all of them are optional in a browser. */
export interface ConvoyClientOptions {
  /** The URL that `/api` is below, such as `https://example.org`; in a browser the page's own origin by default. */
  readonly baseUrl?: string;
  /** Replaces the global `fetch`, such as in tests. */
  readonly fetch?: typeof fetch;
  /** Sent with every request, live ones too. */
  readonly headers?: HeadersSource;
  /** The bearer token, or a function that returns it before each request. */
  readonly auth?: AuthSource;
  /**
   * Sent with each call, so that the server's trace of it leads back to the page: the `traceparent` of the current span,
   * such as of OpenTelemetry. If it returns none or throws, the call is sent without.
   */
  readonly traceparent?: TraceparentSource;
  /** Keeps mutations over reloads and crashes of the page: they are sent when it is opened again. */
  readonly persist?: PersistOptions;
  /** Keeps the results of live queries over reloads of the page: a returning visitor sees the last state at once. */
  readonly cache?: CacheOptions;
  /** Replaces the default transport; the options above then have no effect on requests. */
  readonly transport?: Transport;
}

/** Arguments of a call: left out where `{}` fits. */
export type CallArgs<Ref> =
  Record<never, never> extends ArgsOfRef<Ref>
    ? [args?: ArgsOfRef<Ref>, options?: CallOptions]
    : [args: ArgsOfRef<Ref>, options?: CallOptions];

/** Options of one call. */
export interface CallOptions {
  /** Let the request outlive the page, for a final call in `pagehide`. Browsers then limit the body to 64 KiB. */
  readonly keepalive?: boolean;
}

/** Options of one mutation. */
export interface MutationOptions<Ref> extends CallOptions {
  /**
   * Displays the expected effect until the server's results have it. It is called again whenever the results below it
   * change, so it must depend on its arguments and the store only. If the mutation fails, its effect is taken back.
   */
  readonly optimistic?: (store: OptimisticStore, args: ArgsOfRef<Ref>) => void;
  /**
   * The temporary ids under which the caller already displays the documents that the mutation creates, such as those of
   * `tempId` of `@avvos/convoy/tanstack-db`: `keyOf` and the arguments of later mutations then find the real ids.
   */
  readonly tempIds?: readonly string[];
  /** Send the mutation at once, instead of after the ones called before it are committed. */
  readonly parallel?: boolean;
  /**
   * Resolve when the mutation is `committed`, or (the default) `shown`: every query watched by this client reflects its
   * changes.
   */
  readonly await?: 'shown' | 'committed';
}

/** Arguments of a mutation: left out where `{}` fits. */
export type MutationArgs<Ref> =
  Record<never, never> extends ArgsOfRef<Ref>
    ? [args?: ArgsOfRef<Ref>, options?: MutationOptions<Ref>]
    : [args: ArgsOfRef<Ref>, options?: MutationOptions<Ref>];

/** Options of `liveQuery`. */
export interface LiveQueryOptions {
  /** `once` calls the query a single time instead of keeping it current. */
  readonly liveness?: Liveness;
  /** A result of an earlier time, displayed until a newer one arrives; without effect if the query has a result. */
  readonly initial?: InitialResult | undefined;
}

/** Calls functions by reference, and keeps the results of watched queries current. Create one per page or process. */
export interface ConvoyClient {
  /** The URL that `/api` is below, without a slash at its end. */
  readonly baseUrl: string;
  /** Calls a query once. Rejects with a `ConvoyError`, as every call here does. */
  query<Ref extends ApiRef>(ref: QueryArgument<Ref, ClientMethods>, ...args: CallArgs<Ref>): Promise<ResultOfRef<Ref>>;
  /**
   * Runs a mutation, after the ones called before it. Resolves when it is committed and every query watched by this
   * client reflects its changes; without an open connection, when it is committed; in any case at most a second after
   * the response. Without a response it is sent again, and takes effect once: for 10 seconds, and for as long as the
   * client is reconnecting or offline.
   */
  mutation<Ref extends ApiRef>(
    ref: MutationArgument<Ref, ClientMethods>,
    ...args: MutationArgs<Ref>
  ): Promise<ResultOfRef<Ref>>;
  /** Runs an action. It is never sent twice: when the response is lost, the action may or may not have run. */
  action<Ref extends ApiRef>(
    ref: ActionArgument<Ref, ClientMethods>,
    ...args: CallArgs<Ref>
  ): Promise<ResultOfRef<Ref>>;
  /**
   * Calls `listener` with the query's current snapshot at the next microtask, if it has a result already, and after
   * every change, until the returned function is called. A result that may lack a mutation acknowledged to any client
   * of this process is requested again first. All queries of a client share one connection, which reconnects by itself.
   */
  watch<Ref extends ApiRef>(
    ref: QueryArgument<Ref, ClientMethods>,
    args: ArgsOfRef<Ref>,
    listener: (snapshot: QuerySnapshot<ResultOfRef<Ref>>) => void,
  ): () => void;
  /** The primitive under `watch` and the hooks, for adapters to other frameworks. */
  liveQuery<Ref extends ApiRef>(
    ref: QueryArgument<Ref, ClientMethods>,
    args: ArgsOfRef<Ref>,
    options?: LiveQueryOptions,
  ): LiveQuery<ResultOfRef<Ref>>;
  /**
   * The same text for the temporary id that an optimistic update gave to a document, and for its real id: a key for
   * lists, whose elements then stay the same.
   */
  keyOf(id: string): string;
  /** The combined connection state of all live queries of this client. */
  readonly connection: {
    getSnapshot(): QueryConnectionState;
    subscribe(listener: () => void): () => void;
  };
  /**
   * Makes the client use the token that `auth` now returns. Watched queries continue under it without a new connection;
   * where the server refused the old token, the client connects again.
   */
  refreshAuth(): void;
  /** Ends the connection and the calls in flight. Final; a mutation or action in flight may have run. */
  close(): void;
}

/** Creates a client. Without `baseUrl` it uses the origin of the page. */
export function createConvoyClient(options: ConvoyClientOptions = {}): ConvoyClient {
  checkOptions(options);
  const { persist, cache } = options;
  const baseUrl = (options.baseUrl ?? globalThis.location?.origin ?? '').replace(/\/+$/, '');
  const direct = options.transport ?? new LiveTransport({ endpoint: new Endpoint({ ...options, baseUrl }) });
  const transport = cache ? new LazyCachedTransport(direct, cache, baseUrl) : direct;
  return new TransportClient(baseUrl, transport, persist);
}

class TransportClient implements ConvoyClient {
  readonly baseUrl: string;
  readonly connection: ConvoyClient['connection'];
  readonly #transport: Transport;
  readonly #live: LiveQueries;
  readonly #mutations: LazyMutations;

  constructor(baseUrl: string, transport: Transport, persist: PersistOptions | undefined) {
    this.baseUrl = baseUrl;
    this.#transport = transport;
    this.#live = new LiveQueries(transport);
    this.#mutations = new LazyMutations(transport, this.#live, { persist, name: baseUrl });
    this.connection = this.#live.connection;
    partsOf.set(this, { transport, live: this.#live, mutations: this.#mutations });
  }

  query<Ref extends ApiRef>(
    ref: QueryArgument<Ref, ClientMethods>,
    ...[args, options]: CallArgs<Ref>
  ): Promise<ResultOfRef<Ref>> {
    return this.#call('query', ref, args, options);
  }

  async mutation<Ref extends ApiRef>(
    ref: MutationArgument<Ref, ClientMethods>,
    ...[args, options = {}]: MutationArgs<Ref>
  ): Promise<ResultOfRef<Ref>> {
    const { optimistic, tempIds, parallel = false, await: until = 'shown', keepalive } = options;
    // Sound as in `liveQuery`.
    return (await this.#mutations.run({
      name: nameOfRef(ref),
      ref,
      args: canonicalArgs(args),
      keepalive,
      optimistic,
      tempIds,
      parallel,
      until,
    })) as ResultOfRef<Ref>;
  }

  action<Ref extends ApiRef>(
    ref: ActionArgument<Ref, ClientMethods>,
    ...[args, options]: CallArgs<Ref>
  ): Promise<ResultOfRef<Ref>> {
    return this.#call('action', ref, args, options);
  }

  watch<Ref extends ApiRef>(
    ref: QueryArgument<Ref, ClientMethods>,
    args: ArgsOfRef<Ref>,
    listener: (snapshot: QuerySnapshot<ResultOfRef<Ref>>) => void,
  ): () => void {
    const query = this.liveQuery(ref, args);
    let waiting = query.isBehind();
    let stopped = false;
    const stop = query.subscribe(() => {
      const snapshot = query.getSnapshot();
      // Only a result that claims to be current must wait for the refetch; a stale one or an error need not.
      waiting &&= snapshot.status === 'success' && !snapshot.isStale;
      if (!waiting) listener(snapshot);
    });
    const deliverCurrent = () => {
      const snapshot = query.getSnapshot();
      if (!stopped && snapshot.status !== 'pending') listener(snapshot);
    };
    if (!waiting) queueMicrotask(deliverCurrent);
    else {
      void query.refetch().then(() => {
        if (!waiting) return;
        waiting = false;
        deliverCurrent();
      });
    }
    return () => {
      stopped = true;
      stop();
    };
  }

  liveQuery<Ref extends ApiRef>(
    ref: QueryArgument<Ref, ClientMethods>,
    args: ArgsOfRef<Ref>,
    options: LiveQueryOptions = {},
  ): LiveQuery<ResultOfRef<Ref>> {
    const { liveness = 'live', initial } = options;
    const { persist } = ref as { readonly persist?: false };
    const request = { name: nameOfRef(ref), ref, args: canonicalArgs(args), liveness, initial, persist };
    // Sound because the reference's type is generated from the function of this name.
    return this.#live.query(request) as LiveQuery<ResultOfRef<Ref>>;
  }

  readonly keyOf = (id: string): string => this.#mutations.keyOf(id);

  refreshAuth(): void {
    this.#mutations.callerChanged();
    this.#transport.refreshAuth?.();
  }

  close(): void {
    this.#live.close();
    this.#mutations.close();
    this.#transport.close();
  }

  async #call<Ref extends ApiRef>(
    kind: ApiRef['kind'],
    ref: Ref,
    args: unknown,
    options: CallOptions | undefined,
  ): Promise<ResultOfRef<Ref>> {
    const keepalive = options?.keepalive;
    // Sound as in `liveQuery`.
    return (await this.#transport.call({
      kind,
      name: nameOfRef(ref),
      ref,
      args: canonicalArgs(args),
      keepalive,
    })) as ResultOfRef<Ref>;
  }
}
