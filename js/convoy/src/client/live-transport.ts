/**
 * The default transport: calls by POST, and one connection that carries all live queries of a client.
 *
 * A browser opens about six HTTP/1.1 connections to one host over all its tabs, and a stream occupies one for as long
 * as it is open; with all six occupied, calls block. So a hidden page closes its stream after a while
 * (`PAUSE_AFTER_HIDDEN_MS`) and reopens it, at the cost of hashes, when it becomes visible. HTTP/2 has no such limit.
 */
import { ConvoyError } from '../values/errors.js';
import { type Endpoint, readAnswer } from './endpoint.js';
import { LIVE_TIMEOUTS, LiveConnection, type LiveTimeouts } from './live-connection.js';
import { PendingMutations } from './pending-mutations.js';
import { openPolling } from './polling-link.js';
import { openSocket } from './socket-link.js';
import { openStream } from './stream-link.js';
import type { CallRequest, SubscribeRequest, Subscription, SubscriptionSink, Transport } from './transport.js';
import { isPageHidden, listenToPage } from './visibility.js';

/** How long a hidden page keeps its connection: long enough for a short visit to another tab. */
const PAUSE_AFTER_HIDDEN_MS = 60_000;
/** How long a committed mutation waits until its changes were sent to this client. */
const SETTLE_TIMEOUT_MS = 1_000;

export interface LiveTransportOptions {
  readonly endpoint: Endpoint;
  readonly timeouts?: Partial<LiveTimeouts>;
  readonly pauseAfterHiddenMs?: number;
  readonly settleTimeoutMs?: number;
  readonly pollIntervalMs?: number;
  /** In [0, 1); jitters reconnects. */
  readonly random?: () => number;
}

export class LiveTransport implements Transport {
  readonly #endpoint: Endpoint;
  readonly #connection: LiveConnection;
  readonly #pendingMutations = new PendingMutations();
  readonly #settleTimeoutMs: number;
  readonly #pauseAfterHiddenMs: number;
  readonly #closed = new AbortController();
  #subscriptions = 0;
  #stopListening: (() => void) | null = null;
  #pauseTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: LiveTransportOptions) {
    const { endpoint, random = Math.random } = options;
    this.#endpoint = endpoint;
    this.#settleTimeoutMs = options.settleTimeoutMs ?? SETTLE_TIMEOUT_MS;
    this.#pauseAfterHiddenMs = options.pauseAfterHiddenMs ?? PAUSE_AFTER_HIDDEN_MS;
    const polling = {
      call: ({ name, args }: { name: string; args: unknown }, signal: AbortSignal) =>
        this.#post({ kind: 'query', name, args: JSON.stringify(args) }, { signal }),
      random,
      intervalMs: options.pollIntervalMs,
    };
    this.#connection = new LiveConnection({
      links: {
        stream: (attempt, listener) => openStream(endpoint, attempt, listener),
        socket: (attempt, listener) => openSocket(endpoint, attempt, listener),
        polling: (attempt, listener) => openPolling(polling, attempt, listener),
      },
      consistencyToken: endpoint.consistencyToken,
      acknowledged: endpoint.acknowledged,
      pendingMutations: this.#pendingMutations,
      timeouts: { ...LIVE_TIMEOUTS, ...options.timeouts },
      random,
    });
  }

  async call(request: CallRequest): Promise<unknown> {
    const { signal } = this.#closed;
    if (signal.aborted) throw closedError();
    if (request.kind !== 'mutation') return this.#post(request, { signal });
    const key = newIdempotencyKey();
    const { session } = this.#connection;
    if (session === null) return this.#post(request, { signal, headers: { 'idempotency-key': key } });
    const pending = this.#pendingMutations.add(key);
    try {
      const headers = { 'idempotency-key': key, 'convoy-session': session };
      const data = await this.#post(request, { signal, headers });
      await pending.visible(this.#settleTimeoutMs);
      return data;
    } finally {
      pending.remove();
    }
  }

  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription {
    if (this.#closed.signal.aborted) return closedSubscription(sink);
    const subscription = this.#connection.subscribe(request, sink);
    this.#subscriptions += 1;
    this.#stopListening ??= this.#listenToPage();
    if (isPageHidden()) this.#schedulePause();
    let open = true;
    return {
      ...subscription,
      refresh: () => {
        subscription.refresh();
        this.#postponePause();
      },
      close: () => {
        if (!open) return;
        open = false;
        subscription.close();
        this.#subscriptions -= 1;
        if (this.#subscriptions === 0) this.#stopListeningToPage();
      },
    };
  }

  refreshAuth(): void {
    if (this.#endpoint.sendsToken) this.#connection.renewToken();
    else this.#connection.reopen();
    this.#postponePause();
  }

  close(): void {
    this.#closed.abort(closedError());
    this.#connection.close();
    this.#stopListeningToPage();
  }

  async #post({ kind, name, args, keepalive }: CallRequest, { signal, headers = {} }: PostOptions): Promise<unknown> {
    const path = `/${kind}/${encodeURIComponent(name)}`;
    const onNoResponse = (sentAt: number) => this.#connection.suspect(sentAt);
    const response = await this.#endpoint.post({ path, body: args, headers, signal, keepalive, onNoResponse });
    if (kind !== 'query') this.#endpoint.acknowledge(response);
    return readAnswer(response);
  }

  #listenToPage(): () => void {
    return listenToPage({
      offline: () => this.#connection.offline(),
      online: () => this.#connection.online(),
      visible: () => {
        clearTimeout(this.#pauseTimer);
        this.#connection.wake();
      },
      hidden: () => this.#schedulePause(),
    });
  }

  /** Polling runs every query on the server each time, so a hidden page pauses it at once. */
  #schedulePause(): void {
    clearTimeout(this.#pauseTimer);
    const afterMs = this.#connection.linkKind === 'polling' ? 0 : this.#pauseAfterHiddenMs;
    this.#pauseTimer = setTimeout(() => this.#connection.pause(), afterMs);
  }

  /** Leaves a hidden page connected for a while longer, so that a result the application requested can arrive. */
  #postponePause(): void {
    if (this.#subscriptions === 0 || !isPageHidden()) return;
    clearTimeout(this.#pauseTimer);
    this.#pauseTimer = setTimeout(() => this.#connection.pause(), this.#pauseAfterHiddenMs);
  }

  #stopListeningToPage(): void {
    clearTimeout(this.#pauseTimer);
    this.#stopListening?.();
    this.#stopListening = null;
  }
}

interface PostOptions {
  readonly signal: AbortSignal;
  readonly headers?: Readonly<Record<string, string>>;
}

const closedError = () => new ConvoyError('UNAVAILABLE', 'The client was closed.');

function closedSubscription(sink: SubscriptionSink): Subscription {
  queueMicrotask(() => {
    sink.connection({ connectionState: 'closed', isReconnecting: false });
    sink.failed(closedError());
  });
  return { refresh: () => sink.failed(closedError()), close: () => {} };
}

/** 128 random bits. Not `crypto.randomUUID`, which is missing on pages served over plain HTTP from another machine. */
function newIdempotencyKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
