/**
 * The seam between what a client promises and how its words travel. Everything above it (sharing, lingering, what a
 * listener sees) holds for any transport; everything below it (sockets, retries, heartbeats) is a transport's own.
 *
 * Ours is one connection for all live queries (`live-transport.ts`).
 */
import type { ApiRef } from '../protocol/refs.js';
import type { ConvoyError } from '../values/errors.js';

export interface Transport {
  /** One question, one answer: the result as JSON gave it. Rejects with a `ConvoyError` and nothing else. */
  call(request: CallRequest): Promise<unknown>;
  /** Keeps a query's result coming, into `sink`, until the subscription is closed. Never calls `sink` before it returns. */
  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription;
  /** The caller's token is another one now: whatever stays open shall go on under it. */
  refreshAuth?(): void;
  /** Ends every subscription and call in flight. Final. */
  close(): void;
}

export interface CallRequest {
  readonly kind: ApiRef['kind'];
  readonly name: string;
  /** Canonical JSON (see `canonicalArgs`). */
  readonly args: string;
  /** Let the request outlive the page, for a last word in `pagehide`. Browsers then limit the body to 64 KiB. */
  readonly keepalive?: boolean | undefined;
}

export interface SubscribeRequest {
  readonly name: string;
  /** Canonical JSON (see `canonicalArgs`). */
  readonly args: string;
}

/**
 * Where a transport reports what happens to one subscription. Nothing is reported after it was closed. What is reported
 * to several sinks without a pause between belongs together: listeners are told after all of it.
 */
export interface SubscriptionSink {
  /** A result. Equal results are the same object, and so are parts of them that stayed as they were. */
  result(data: unknown): void;
  /** What was reported last is still the answer. */
  same(): void;
  /** The query failed for a reason of its own. `UNAVAILABLE` never comes this way: it shows in `connection`. */
  failed(error: ConvoyError): void;
  connection(view: ConnectionView): void;
}

export interface Subscription {
  /** Asks for the whole result again, at once, wherever the connection stands. */
  refresh(): void;
  /**
   * What was reported last may lack a change that this process has been told of, by whichever client. Without it,
   * nothing is known of that.
   */
  isBehind?(): boolean;
  close(): void;
}

/** The state of a connection as a screen would show it. */
export interface ConnectionView {
  readonly connectionState: QueryConnectionState;
  /** There is no connection now, and it is not for the first time that one is being made. */
  readonly isReconnecting: boolean;
}

/** `closed`: no one is trying (refused, resting, ended). `disabled`: nothing was asked to be live. */
export type QueryConnectionState = 'open' | 'connecting' | 'closed' | 'disabled';
