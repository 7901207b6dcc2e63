/**
 * Our transport: calls by POST, and one connection that carries all live queries of a client.
 *
 * A browser opens about six HTTP/1.1 connections to one host, all tabs together, and a stream occupies one for as long
 * as it lasts; with all six taken, calls wait for ever. So a page that no one looks at gives its stream back after a
 * while (`REST_AFTER_MS`), and takes it up again, at the cost of hashes, when it is shown. HTTP/2 has no such limit.
 */
import { ConvoyError } from '../values/errors.js';
import { type Endpoint, readAnswer } from './endpoint.js';
import { LIVE_TIMES, LiveConnection, type LiveTimes } from './live-connection.js';
import { Settlements } from './pending-mutations.js';
import { openPolling } from './polling-link.js';
import { openSocket } from './socket-link.js';
import { openStream } from './stream-link.js';
import type { CallRequest, SubscribeRequest, Subscription, SubscriptionSink, Transport } from './transport.js';
import { isPageHidden, listenToPage } from './visibility.js';

/** How long a hidden page keeps its connection: long enough for a look at another tab. */
const REST_AFTER_MS = 60_000;
/** How long a mutation that is committed waits for the screens to follow. */
const SETTLE_MS = 1_000;

export interface LiveTransportOptions {
  readonly endpoint: Endpoint;
  readonly times?: Partial<LiveTimes>;
  readonly restAfterMs?: number;
  readonly settleMs?: number;
  readonly pollEveryMs?: number;
  /** In [0, 1); spreads reconnects. */
  readonly random?: () => number;
}

export class LiveTransport implements Transport {
  readonly #endpoint: Endpoint;
  readonly #connection: LiveConnection;
  readonly #settlements = new Settlements();
  readonly #settleMs: number;
  readonly #restAfterMs: number;
  readonly #ended = new AbortController();
  #subscriptions = 0;
  #stopListening: (() => void) | null = null;
  #rest: ReturnType<typeof setTimeout> | undefined;

  constructor(options: LiveTransportOptions) {
    const { endpoint, random = Math.random } = options;
    this.#endpoint = endpoint;
    this.#settleMs = options.settleMs ?? SETTLE_MS;
    this.#restAfterMs = options.restAfterMs ?? REST_AFTER_MS;
    const polling = {
      ask: ({ name, args }: { name: string; args: unknown }, signal: AbortSignal) =>
        this.#post({ kind: 'query', name, args: JSON.stringify(args) }, { signal }),
      random,
      everyMs: options.pollEveryMs,
    };
    this.#connection = new LiveConnection({
      links: {
        stream: (attempt, reader) => openStream(endpoint, attempt, reader),
        socket: (attempt, reader) => openSocket(endpoint, attempt, reader),
        polling: (attempt, reader) => openPolling(polling, attempt, reader),
      },
      position: endpoint.position,
      acknowledged: endpoint.acknowledged,
      settlements: this.#settlements,
      times: { ...LIVE_TIMES, ...options.times },
      random,
    });
  }

  async call(request: CallRequest): Promise<unknown> {
    const { signal } = this.#ended;
    if (signal.aborted) throw closedError();
    if (request.kind !== 'mutation') return this.#post(request, { signal });
    const key = newKey();
    const { session } = this.#connection;
    if (session === null) return this.#post(request, { signal, headers: { 'idempotency-key': key } });
    const settlement = this.#settlements.expect(key);
    try {
      const headers = { 'idempotency-key': key, 'convoy-session': session };
      const answer = await this.#post(request, { signal, headers });
      await settlement.within(this.#settleMs);
      return answer;
    } finally {
      settlement.drop();
    }
  }

  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription {
    if (this.#ended.signal.aborted) return refuseClosed(sink);
    const subscription = this.#connection.subscribe(request, sink);
    this.#subscriptions += 1;
    this.#stopListening ??= this.#listen();
    if (isPageHidden()) this.#restSoon();
    let open = true;
    return {
      ...subscription,
      refresh: () => {
        subscription.refresh();
        this.#woken();
      },
      close: () => {
        if (!open) return;
        open = false;
        subscription.close();
        this.#subscriptions -= 1;
        if (this.#subscriptions === 0) this.#leavePage();
      },
    };
  }

  refreshAuth(): void {
    if (this.#endpoint.bringsToken) this.#connection.renew();
    else this.#connection.reopen();
    this.#woken();
  }

  close(): void {
    this.#ended.abort(closedError());
    this.#connection.close();
    this.#leavePage();
  }

  async #post({ kind, name, args, keepalive }: CallRequest, { signal, headers = {} }: Sending): Promise<unknown> {
    const path = `/${kind}/${encodeURIComponent(name)}`;
    const unanswered = (askedAt: number) => this.#connection.suspect(askedAt);
    const response = await this.#endpoint.post({ path, body: args, headers, signal, keepalive, unanswered });
    if (kind !== 'query') this.#endpoint.acknowledge(response);
    return readAnswer(response);
  }

  #listen(): () => void {
    return listenToPage({
      offline: () => this.#connection.offline(),
      online: () => this.#connection.online(),
      visible: () => {
        clearTimeout(this.#rest);
        this.#connection.wake();
      },
      hidden: () => this.#restSoon(),
    });
  }

  /** Polling costs the server a run of every query each time, so nobody's page does without. */
  #restSoon(): void {
    clearTimeout(this.#rest);
    const afterMs = this.#connection.way === 'polling' ? 0 : this.#restAfterMs;
    this.#rest = setTimeout(() => this.#connection.rest(), afterMs);
  }

  /** The application asked for something. Where nobody looks, the answer may come, and then the page rests again. */
  #woken(): void {
    if (this.#subscriptions === 0 || !isPageHidden()) return;
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => this.#connection.rest(), this.#restAfterMs);
  }

  #leavePage(): void {
    clearTimeout(this.#rest);
    this.#stopListening?.();
    this.#stopListening = null;
  }
}

interface Sending {
  readonly signal: AbortSignal;
  readonly headers?: Readonly<Record<string, string>>;
}

const closedError = () => new ConvoyError('UNAVAILABLE', 'The client was closed');

function refuseClosed(sink: SubscriptionSink): Subscription {
  queueMicrotask(() => {
    sink.connection({ connectionState: 'closed', isReconnecting: false });
    sink.failed(closedError());
  });
  return { refresh: () => sink.failed(closedError()), close: () => {} };
}

/** 128 random bits. Not `crypto.randomUUID`, which a page served over plain HTTP from another machine does not have. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
