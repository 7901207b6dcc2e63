/**
 * The interface between the client's public behaviour and how requests travel. Everything above it (sharing, retention,
 * snapshots) holds for any transport; everything below it (sockets, retries, heartbeats) is internal to a transport.
 *
 * The default transport is one connection for all live queries (`live-transport.ts`).
 */
import type { LiveMessageOf } from '../protocol/frames.js';
import type { ApiRef } from '../protocol/refs.js';
import type { ConvoyError } from '../values/errors.js';

/** How a client reaches its server. The default is one connection for all live queries; tests replace it. */
export interface Transport {
  /**
   * Sends one call and resolves with its result as JSON gave it, a mutation's once it is committed. Rejects only with a
   * `ConvoyError`.
   */
  call(request: CallRequest): Promise<unknown>;
  /** Delivers a query's results to `sink` until the subscription is closed. Never calls `sink` before it returns. */
  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription;
  /** The caller's token has changed: open subscriptions continue under the new one. */
  refreshAuth?(): void;
  /** Ends every subscription and every call in flight. Final. */
  close(): void;
}

/** One call of a function. */
export interface CallRequest {
  /** The kind of the function. */
  readonly kind: ApiRef['kind'];
  /** The name of the function: `messages.list`. */
  readonly name: string;
  /** The reference that the application has called or watched, if there is one. */
  readonly ref?: ApiRef | undefined;
  /** Canonical JSON (see `canonicalArgs`). */
  readonly args: string;
  /** The idempotency key of a mutation; attempts with the same key take effect once. By default a new one. */
  readonly idempotencyKey?: string | undefined;
  /** 1, or more where earlier attempts with the same key got no response. */
  readonly attempt?: number | undefined;
  /** Ends this attempt without a response. */
  readonly signal?: AbortSignal | undefined;
  /** Follows a mutation's changes in the results of live queries. */
  readonly tracker?: MutationTracker | undefined;
  /** Let the request outlive the page, for a final call in `pagehide`. Browsers then limit the body to 64 KiB. */
  readonly keepalive?: boolean | undefined;
}

/**
 * Follows the changes of one mutation in the results of live queries. Called synchronously after the results of the
 * same frame, so that no listener sees one without the other. A transport that never calls it is allowed.
 */
export interface MutationTracker {
  /** The request is sent, and the session that is open now reports the mutation. */
  tracked(): void;
  /** The results delivered to these sinks have the changes. `result` is the mutation's, if it is known already. */
  included(sinks: readonly SubscriptionSink[], result?: unknown): void;
  /** All results delivered have the changes. */
  settled(result?: unknown): void;
  /** No session reports the mutation: none is open, the session has ended, or another server has it. */
  lost(): void;
}

/** A query to watch. */
export interface SubscribeRequest {
  /** The name of the query: `messages.list`. */
  readonly name: string;
  /** The reference that the application has called or watched, if there is one. */
  readonly ref?: ApiRef | undefined;
  /** Canonical JSON (see `canonicalArgs`). */
  readonly args: string;
  /** A result that is displayed already: a transport need not deliver it again. */
  readonly initial?: InitialResult | undefined;
  /** `false`: the result must not be stored. */
  readonly persist?: boolean | undefined;
  /** Called with each answer of a server, before the sink. A transport that never calls it is allowed. */
  readonly onAnswer?: ((answer: QueryAnswer) => void) | undefined;
}

/** What a server has answered. */
export type QueryAnswer =
  | {
      readonly type: 'result';
      readonly data: unknown;
      readonly version: ResultVersion;
      /**
       * The change that the server has sent, if it has not sent the whole result. The other documents in `data` are those
       * that the application has, which may have changed them.
       *
       * @internal
       */
      readonly patch?: LiveMessageOf<'rows'> | undefined;
    }
  /** The last result is still current. */
  | { readonly type: 'same' }
  | { readonly type: 'failed'; readonly error: ConvoyError };

/** How servers name a result; both are empty where a server has named neither. */
export interface ResultVersion {
  /** The hash of the result. */
  readonly hash: string;
  /** The consistency token of a client that has seen it. */
  readonly position: string;
}

/** A result from before the subscription, as a server has sent it. */
export interface InitialResult extends ResultVersion {
  /** The result as JSON gave it. */
  readonly data: unknown;
  /**
   * The lists in `data` as the server has sent them, if the application may have sorted those by the time of the
   * subscription.
   *
   * @internal
   */
  readonly list?: unknown;
  /**
   * `data` as JSON: what the server has sent, if the application may have changed `data`.
   *
   * @internal
   */
  readonly text?: string;
}

/**
 * Receives the events of one subscription, until it is closed. Events reported synchronously to several sinks belong
 * together: listeners are notified after all of them.
 */
export interface SubscriptionSink {
  /** A result. Equal results are the same object, and so are their unchanged parts. */
  result(data: unknown): void;
  /** A result of an earlier time, before the first one of a server. */
  initial?(data: unknown): void;
  /** The last result is still current. */
  same(): void;
  /** The query itself failed. `UNAVAILABLE` is never reported here: it shows in `connection`. */
  failed(error: ConvoyError): void;
  /** The state of the connection has changed. */
  connection(view: ConnectionView): void;
}

/** A watched query. */
export interface Subscription {
  /**
   * Requests the whole result again, in any state of the connection. With `wake: false`, it does not cut the delay of a
   * reconnection short.
   */
  refresh(options?: { readonly wake: boolean }): void;
  /**
   * The last result may lack a change acknowledged to any client of this process. A transport without this method
   * cannot detect that.
   */
  isBehind?(): boolean;
  /** Ends the subscription; its sink is not called again. */
  close(): void;
}

/** The state of a connection as applications see it. */
export interface ConnectionView {
  /** The state of the connection that carries the query. */
  readonly connectionState: QueryConnectionState;
  /** There is no connection at the moment, and the one being made is not the first. */
  readonly isReconnecting: boolean;
}

/** `closed`: no connection is attempted (refused, paused, closed). `disabled`: no live query needs one. */
export type QueryConnectionState = 'open' | 'connecting' | 'closed' | 'disabled';
