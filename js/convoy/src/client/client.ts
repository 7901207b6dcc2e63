/**
 * The client: calls functions by reference, and watches queries. Everything it knows lives in the instance; making one
 * opens nothing, its first watch connects, and a moment after the last it is quiet again.
 */
import type { AnyActionRef, AnyMutationRef, AnyQueryRef, ApiRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import { canonicalArgs } from './canonical.js';
import { type AuthSource, Endpoint, type HeadersSource } from './endpoint.js';
import { type Liveness, LiveQueries, type LiveQuery } from './live-query.js';
import { LiveTransport } from './live-transport.js';
import type { QuerySnapshot } from './snapshot.js';
import type { QueryConnectionState, Transport } from './transport.js';

export interface ConvoyClientOptions {
  /** Where `/api` is, such as `https://example.org`; in a browser the page's own origin unless given. */
  readonly baseUrl?: string;
  readonly fetch?: typeof fetch;
  /** Sent with every request, live ones too. */
  readonly headers?: HeadersSource;
  /** The bearer token, or where to get it before each request. */
  readonly auth?: AuthSource;
  /** Replaces how requests travel; the options above are then its own business. */
  readonly transport?: Transport;
}

/** Arguments of a call: left out where `{}` fits. */
export type CallArgs<Ref> =
  Record<never, never> extends ArgsOfRef<Ref>
    ? [args?: ArgsOfRef<Ref>, options?: CallOptions]
    : [args: ArgsOfRef<Ref>, options?: CallOptions];

export interface CallOptions {
  /** Let the request outlive the page, for a last word in `pagehide`. Browsers then limit the body to 64 KiB. */
  readonly keepalive?: boolean;
}

export interface LiveQueryOptions {
  /** `once` asks a single time instead of staying current. */
  readonly liveness?: Liveness;
}

export interface ConvoyClient {
  readonly baseUrl: string;
  /** Asks once. Rejects with a `ConvoyError`, as every call here does. */
  query<Ref extends AnyQueryRef>(ref: Ref, ...args: CallArgs<Ref>): Promise<ResultOfRef<Ref>>;
  /**
   * Resolves when it is committed and everything watched here shows what it changed; when it is committed, where
   * nothing is connected; and in any case a second after the commit was answered.
   */
  mutation<Ref extends AnyMutationRef>(ref: Ref, ...args: CallArgs<Ref>): Promise<ResultOfRef<Ref>>;
  /** Runs an action. Where its answer is lost on the way, it may have run all the same; it is never sent twice. */
  action<Ref extends AnyActionRef>(ref: Ref, ...args: CallArgs<Ref>): Promise<ResultOfRef<Ref>>;
  /**
   * Calls `listener` with what is known of the query, at the next microtask where something is, and after every
   * change, until the returned function is called. What is known is asked for again first where a mutation that any
   * client of this process was told of might be missing in it. All queries of a client share one connection, which survives
   * failures by itself.
   */
  watch<Ref extends AnyQueryRef>(
    ref: Ref,
    args: ArgsOfRef<Ref>,
    listener: (snapshot: QuerySnapshot<ResultOfRef<Ref>>) => void,
  ): () => void;
  /** What `watch` and the hooks stand on, for those who bring Convoy to another framework. */
  liveQuery<Ref extends AnyQueryRef>(
    ref: Ref,
    args: ArgsOfRef<Ref>,
    options?: LiveQueryOptions,
  ): LiveQuery<ResultOfRef<Ref>>;
  /** All live queries of this client together. */
  readonly connection: {
    getSnapshot(): QueryConnectionState;
    subscribe(listener: () => void): () => void;
  };
  /**
   * Says that `auth` gives another token now. What is watched goes on under it, without a new connection; where the
   * old one was refused, it is asked for again.
   */
  refreshAuth(): void;
  /** Ends the connection and calls in flight. Final; a mutation or action cut off here may have happened. */
  close(): void;
}

/** Makes a client. Without `baseUrl` it speaks to the origin of the page. */
export function createConvoyClient(options: ConvoyClientOptions = {}): ConvoyClient {
  const baseUrl = (options.baseUrl ?? globalThis.location?.origin ?? '').replace(/\/+$/, '');
  const { fetch, headers, auth } = options;
  const transport =
    options.transport ?? new LiveTransport({ endpoint: new Endpoint({ baseUrl, fetch, headers, auth }) });
  return new TransportClient(baseUrl, transport);
}

class TransportClient implements ConvoyClient {
  readonly baseUrl: string;
  readonly connection: ConvoyClient['connection'];
  readonly #transport: Transport;
  readonly #live: LiveQueries;

  constructor(baseUrl: string, transport: Transport) {
    this.baseUrl = baseUrl;
    this.#transport = transport;
    this.#live = new LiveQueries(transport);
    this.connection = this.#live.connection;
  }

  query<Ref extends AnyQueryRef>(ref: Ref, ...[args, options]: CallArgs<Ref>): Promise<ResultOfRef<Ref>> {
    return this.#call('query', ref, args, options);
  }

  mutation<Ref extends AnyMutationRef>(ref: Ref, ...[args, options]: CallArgs<Ref>): Promise<ResultOfRef<Ref>> {
    return this.#call('mutation', ref, args, options);
  }

  action<Ref extends AnyActionRef>(ref: Ref, ...[args, options]: CallArgs<Ref>): Promise<ResultOfRef<Ref>> {
    return this.#call('action', ref, args, options);
  }

  watch<Ref extends AnyQueryRef>(
    ref: Ref,
    args: ArgsOfRef<Ref>,
    listener: (snapshot: QuerySnapshot<ResultOfRef<Ref>>) => void,
  ): () => void {
    const query = this.liveQuery(ref, args);
    let waits = query.isBehind();
    let stopped = false;
    const stop = query.subscribe(() => {
      const known = query.getSnapshot();
      // One that says itself that it may be old, or an error, need not be held back.
      waits &&= known.status === 'success' && !known.isStale;
      if (!waits) listener(known);
    });
    const begin = () => {
      const known = query.getSnapshot();
      if (!stopped && known.status !== 'pending') listener(known);
    };
    if (!waits) queueMicrotask(begin);
    else {
      void query.refetch().then(() => {
        if (!waits) return;
        waits = false;
        begin();
      });
    }
    return () => {
      stopped = true;
      stop();
    };
  }

  liveQuery<Ref extends AnyQueryRef>(
    ref: Ref,
    args: ArgsOfRef<Ref>,
    options: LiveQueryOptions = {},
  ): LiveQuery<ResultOfRef<Ref>> {
    const request = { name: ref.name, args: canonicalArgs(args), liveness: options.liveness ?? 'live' };
    // The reference is the server's word for what this name answers; from here on the type holds.
    return this.#live.query(request) as LiveQuery<ResultOfRef<Ref>>;
  }

  refreshAuth(): void {
    this.#transport.refreshAuth?.();
  }

  close(): void {
    this.#live.close();
    this.#transport.close();
  }

  async #call<Ref extends ApiRef>(
    kind: ApiRef['kind'],
    { name }: Ref,
    args: unknown,
    options: CallOptions | undefined,
  ): Promise<ResultOfRef<Ref>> {
    const keepalive = options?.keepalive;
    // As in `liveQuery`: the reference vouches for the type.
    return (await this.#transport.call({ kind, name, args: canonicalArgs(args), keepalive })) as ResultOfRef<Ref>;
  }
}
