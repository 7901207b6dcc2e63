/**
 * The transport of today: calls by POST, and one `text/event-stream` for each live query.
 *
 * A browser opens about six HTTP/1.1 connections to one host, all tabs together, and a stream occupies one for as long
 * as it lasts; with all six taken, calls wait for ever. HTTP/2 lifts this. Until one stream carries all of a page's
 * queries, watch few distinct queries per page; and a page that no one looks at gives its connections back after a
 * moment (`REST_AFTER_MS`), so that only the tabs in sight count.
 */
import { ConvoyError } from '../values/errors.js';
import { type Endpoint, readAnswer } from './endpoint.js';
import { listenToPage } from './page.js';
import { SILENCE_MS, StreamSubscription } from './subscription.js';
import type { CallRequest, SubscribeRequest, Subscription, SubscriptionSink, Transport } from './transport.js';

/** How long a hidden page keeps its streams: long enough for a glance at another tab. */
const REST_AFTER_MS = 5_000;

export interface SseTransportOptions {
  readonly endpoint: Endpoint;
  /** Silence after which a stream counts as dead, in milliseconds. */
  readonly silenceMs?: number;
  readonly restAfterMs?: number;
  /** In [0, 1); spreads reconnects. */
  readonly random?: () => number;
}

export class SseTransport implements Transport {
  readonly #endpoint: Endpoint;
  readonly #silenceMs: number;
  readonly #restAfterMs: number;
  readonly #random: () => number;
  readonly #ended = new AbortController();
  readonly #subscriptions = new Set<StreamSubscription>();
  #stopListening: (() => void) | null = null;
  #resting: ReturnType<typeof setTimeout> | undefined;

  constructor(options: SseTransportOptions) {
    this.#endpoint = options.endpoint;
    this.#silenceMs = options.silenceMs ?? SILENCE_MS;
    this.#restAfterMs = options.restAfterMs ?? REST_AFTER_MS;
    this.#random = options.random ?? Math.random;
  }

  async call(request: CallRequest): Promise<unknown> {
    if (this.#ended.signal.aborted) throw closedError();
    const response = await this.#endpoint.send({
      method: 'POST',
      path: `/${request.kind}/${encodeURIComponent(request.name)}`,
      headers: {
        accept: 'application/json',
        'content-type': 'application/json',
        ...(request.kind === 'mutation' ? { 'idempotency-key': newKey() } : {}),
      },
      body: request.args,
      signal: this.#ended.signal,
      keepalive: request.keepalive,
    });
    return readAnswer(response);
  }

  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription {
    if (this.#ended.signal.aborted) return refuseClosed(sink);
    const subscription = new StreamSubscription({
      endpoint: this.#endpoint,
      request,
      sink,
      silenceMs: this.#silenceMs,
      random: this.#random,
    });
    this.#subscriptions.add(subscription);
    this.#stopListening ??= this.#listen();
    return {
      refresh: () => subscription.refresh(),
      close: () => {
        subscription.close();
        this.#subscriptions.delete(subscription);
        if (this.#subscriptions.size === 0) this.#leavePage();
      },
    };
  }

  close(): void {
    this.#ended.abort(closedError());
    for (const subscription of this.#subscriptions) subscription.close();
    this.#subscriptions.clear();
    this.#leavePage();
  }

  #listen(): () => void {
    const all = (act: (subscription: StreamSubscription) => void) => {
      clearTimeout(this.#resting);
      for (const subscription of this.#subscriptions) act(subscription);
    };
    return listenToPage({
      online: () => all((subscription) => subscription.reconnect()),
      visible: () => all((subscription) => subscription.wake()),
      hidden: () => {
        clearTimeout(this.#resting);
        this.#resting = setTimeout(() => all((subscription) => subscription.rest()), this.#restAfterMs);
      },
    });
  }

  #leavePage(): void {
    clearTimeout(this.#resting);
    this.#stopListening?.();
    this.#stopListening = null;
  }
}

const closedError = () => new ConvoyError('UNAVAILABLE', 'The client was closed');

function refuseClosed(sink: SubscriptionSink): Subscription {
  queueMicrotask(() => sink.failed(closedError()));
  return { refresh: () => sink.failed(closedError()), close: () => {} };
}

/** 128 random bits. Not `crypto.randomUUID`, which a page served over plain HTTP from another machine does not have. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
