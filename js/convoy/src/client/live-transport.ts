/**
 * The default transport: calls by POST, and one connection that carries all live queries of a client. A hidden page
 * closes it after a while (`PAUSE_AFTER_HIDDEN_MS`) and reopens it, at the cost of hashes, when it becomes visible.
 */
import { ConvoyError } from '../values/errors.js';
import { type Endpoint, isUnanswered, readAnswer } from './endpoint.js';
import { newIdempotencyKey } from './idempotency-key.js';
import { lazyLink } from './lazy-link.js';
import { LiveConnection } from './live-connection.js';
import { LIVE_TIMEOUTS, type LiveTimeouts } from './live-timeouts.js';
import { linkKinds } from './stream-limit.js';
import { openStream } from './stream-link.js';
import { TrackedMutations } from './tracked-mutations.js';
import type { CallRequest, SubscribeRequest, Subscription, SubscriptionSink, Transport } from './transport.js';
import { isPageHidden, listenToPage } from './visibility.js';

/** How long a hidden page keeps its connection: long enough for a short visit to another tab. */
const PAUSE_AFTER_HIDDEN_MS = 60_000;

export interface LiveTransportOptions {
  readonly endpoint: Endpoint;
  readonly timeouts?: Partial<LiveTimeouts>;
  readonly pauseAfterHiddenMs?: number;
  readonly pollIntervalMs?: number;
  /** In [0, 1); jitters reconnects. */
  readonly random?: () => number;
}

export class LiveTransport implements Transport {
  readonly #endpoint: Endpoint;
  readonly #connection: LiveConnection;
  readonly #trackedMutations = new TrackedMutations();
  /** A session whose mutations are answered by servers that do not have it. */
  #sessionOfOtherServer: string | null = null;
  readonly #pauseAfterHiddenMs: number;
  #closed = false;
  /** Each has its own signal: the listeners of many calls on one would look like a leak. */
  readonly #callsInFlight = new Set<AbortController>();
  #subscriptions = 0;
  #stopListening: (() => void) | null = null;
  #pauseTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: LiveTransportOptions) {
    const { endpoint, random = Math.random } = options;
    this.#endpoint = endpoint;
    this.#pauseAfterHiddenMs = options.pauseAfterHiddenMs ?? PAUSE_AFTER_HIDDEN_MS;
    const polling = {
      call: async ({ name, args }: { name: string; args: unknown }, signal: AbortSignal) =>
        (await this.#post({ kind: 'query', name, args: JSON.stringify(args) }, { signal })).data,
      random,
      intervalMs: options.pollIntervalMs,
    };
    this.#connection = new LiveConnection({
      links: {
        stream: (attempt, listener) => openStream(endpoint, attempt, listener),
        socket: lazyLink(async () => {
          const { openSocket } = await import('./socket-link.js');
          return (attempt, listener) => openSocket(endpoint, attempt, listener);
        }),
        polling: lazyLink(async () => {
          const { openPolling } = await import('./polling-link.js');
          return (attempt, listener) => openPolling(polling, attempt, listener);
        }),
      },
      kinds: endpoint.mayStream ? linkKinds(endpoint.baseUrl) : ['socket', 'polling'],
      consistencyToken: endpoint.consistencyToken,
      acknowledged: endpoint.acknowledged,
      trackedMutations: this.#trackedMutations,
      timeouts: { ...LIVE_TIMEOUTS, ...options.timeouts },
      random,
    });
  }

  get connection(): LiveConnection {
    return this.#connection;
  }

  async call(request: CallRequest): Promise<unknown> {
    if (this.#closed) throw closedError();
    const ended = new AbortController();
    const end = () => ended.abort(request.signal?.reason);
    if (request.signal?.aborted) end();
    request.signal?.addEventListener('abort', end);
    this.#callsInFlight.add(ended);
    try {
      return await this.#call(request, ended.signal);
    } finally {
      this.#callsInFlight.delete(ended);
      request.signal?.removeEventListener('abort', end);
    }
  }

  async #call(request: CallRequest, signal: AbortSignal): Promise<unknown> {
    if (request.kind !== 'mutation') return (await this.#post(request, { signal })).data;
    const { idempotencyKey: key = newIdempotencyKey(), attempt = 1, tracker } = request;
    const session =
      tracker === undefined || this.#connection.session === this.#sessionOfOtherServer
        ? null
        : this.#connection.session;
    const headers = {
      'idempotency-key': key,
      ...(session === null ? {} : { 'convoy-session': session }),
      ...(attempt === 1 ? {} : { 'convoy-attempt': String(attempt) }),
    };
    if (tracker !== undefined && session !== null) this.#trackedMutations.add(key, tracker);
    else tracker?.lost();
    try {
      const answer = await this.#post(request, { signal, headers });
      if (session !== null && answer.session !== session) {
        this.#sessionOfOtherServer = session;
        this.#trackedMutations.lose(key);
      }
      return answer.data;
    } catch (error) {
      // Without a response, the mutation may be committed, and the session still reports it.
      if (!isUnanswered(error)) this.#trackedMutations.remove(key);
      throw error;
    }
  }

  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription {
    if (this.#closed) return closedSubscription(sink);
    const subscription = this.#connection.subscribe(request, sink);
    this.#subscriptions += 1;
    this.#stopListening ??= this.#listenToPage();
    if (isPageHidden()) this.#schedulePause();
    let open = true;
    return {
      ...subscription,
      refresh: (options) => {
        subscription.refresh(options);
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
    this.#closed = true;
    for (const call of this.#callsInFlight) call.abort(closedError());
    this.#connection.close();
    this.#stopListeningToPage();
  }

  async #post(
    { kind, name, args, keepalive }: CallRequest,
    { signal, headers = {} }: PostOptions,
  ): Promise<PostAnswer> {
    const path = `/${kind}/${encodeURIComponent(name)}`;
    const onNoResponse = (sentAt: number) => this.#connection.suspect(sentAt);
    const sent = { ...this.#endpoint.traceHeaders, ...headers };
    const response = await this.#endpoint.post({ path, body: args, headers: sent, signal, keepalive, onNoResponse });
    if (kind !== 'query') this.#endpoint.acknowledge(response);
    return { data: await readAnswer(response), session: response.headers?.get('convoy-session') ?? null };
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
      left: () => this.#connection.pause(),
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

interface PostAnswer {
  readonly data: unknown;
  /** The session on which the server reports the mutation. */
  readonly session: string | null;
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
