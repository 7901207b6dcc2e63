/**
 * Drives the live connection: acts on the state (`connection.ts`), opens links of the kind that works here
 * (`transport-fallback.ts`), sends changes of subscriptions (`subscription-updates.ts`), applies frames to the session
 * (`session.ts`), and delivers the results to the sinks. It owns only the timers and the current attempt.
 */
import { type LiveMessage, PROTOCOL, type SessionChange } from '../protocol/frames.js';
import { ConvoyError, errorFromPayload } from '../values/errors.js';
import { type Connection, type ConnectionEvent, INITIAL, step, viewOf } from './connection.js';
import type { ConsistencyToken } from './consistency-token.js';
import {
  endedByError,
  isTransient,
  type LinkEnd,
  type LinkKind,
  type LinkListener,
  type OpenLink,
  protocolMismatch,
} from './link.js';
import { CHECK_MS, type LiveTimeouts, SILENCE_ON_RETURN_MS } from './live-timeouts.js';
import { retryAfterMs } from './retry-after.js';
import { type QueryEvent, Session, type SessionEvent, type SubscribedQuery } from './session.js';
import { revokesData } from './snapshot.js';
import { SubscriptionUpdates } from './subscription-updates.js';
import type { TrackedMutations } from './tracked-mutations.js';
import type { ConnectionView, SubscribeRequest, Subscription, SubscriptionSink } from './transport.js';
import {
  fallback,
  isPreferred,
  proven,
  RETRY_PREFERRED_AFTER_MS,
  retryPreferred,
  type TransportState,
  untried,
} from './transport-fallback.js';
import { isOffline } from './visibility.js';

export interface LiveConnectionOptions {
  readonly links: Readonly<Record<LinkKind, OpenLink>>;
  /** The kinds of links in order of preference. */
  readonly kinds: readonly LinkKind[];
  readonly consistencyToken: ConsistencyToken;
  /** The position of the latest acknowledged change of any client in this process. */
  readonly acknowledged: ConsistencyToken;
  readonly trackedMutations: TrackedMutations;
  readonly timeouts: LiveTimeouts;
  readonly random: () => number;
}

const SILENT = new ConvoyError('UNAVAILABLE', 'The server sent neither data nor a heartbeat in time.');

const INTERRUPTED: ConnectionView = { connectionState: 'connecting', isReconnecting: true };

export class LiveConnection {
  /** Called with each frame before it is applied, for development tools. */
  onFrame: ((messages: readonly LiveMessage[]) => void) | undefined;
  readonly #options: LiveConnectionOptions;
  readonly #session: Session;
  readonly #updates: SubscriptionUpdates;
  #connection: Connection = INITIAL;
  #transport: TransportState;
  #attempt = new AbortController();
  /** Ends a reconnect delay, or detects silence. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #retryPreferredTimer: ReturnType<typeof setTimeout> | undefined;
  #openedAt = 0;
  #lastActiveAt = 0;
  /** Why kinds of links do not work here. */
  readonly #unsupported = new Map<LinkKind, string>();
  #warnedOfPolling = false;
  /** A flush is due at the next microtask, so that one request carries all changes of one tick. */
  #flushScheduled = false;
  /** The code of the last error by which a stream was refused. */
  #refusedBy: string | null = null;
  #wakeOnFlush = false;

  constructor(options: LiveConnectionOptions) {
    this.#options = options;
    this.#transport = untried(options.kinds);
    this.#session = new Session(options.consistencyToken);
    this.#updates = new SubscriptionUpdates(
      this.#session,
      (...refused) => this.#onChangeRefused(...refused),
      options.timeouts.silenceMs,
    );
  }

  /** The open session's name; null while there is none, or none that reports settled mutations. */
  get session(): string | null {
    return this.#session.name || null;
  }

  get linkKind(): LinkKind {
    return this.#transport.kind;
  }

  /** For development tools. */
  get inspected() {
    return { ...this.#connection, queries: this.#session.queries, position: this.#options.consistencyToken.latest };
  }

  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription {
    const query = this.#session.add(request, sink);
    // A new subscription does not cut a reconnect delay short: while a server is away, components mount and unmount.
    this.#scheduleFlush({ wake: this.#connection.phase !== 'waiting' });
    return {
      isBehind: () =>
        this.#connection.phase === 'open' && this.#session.isBehind(query, this.#options.acknowledged.latest),
      refresh: ({ wake } = { wake: true }) => {
        // The result must include all acknowledged changes, from any server.
        this.#options.consistencyToken.advance(this.#options.acknowledged.latest);
        this.#session.resubscribe(query);
        this.#scheduleFlush({ wake: wake || this.#connection.phase !== 'waiting' });
      },
      close: () => {
        this.#session.remove(query);
        // Without this query the results may fit in a frame.
        this.#scheduleFlush({ wake: this.#connection.phase === 'refused' && this.#refusedBy === 'PAYLOAD_TOO_LARGE' });
      },
    };
  }

  /** Reconnects, because the caller may have changed in a way that no token shows. Costs only hashes. */
  reopen(): void {
    this.#transition({ type: 'reconnect' });
  }

  /** Sends the session the caller's new token. */
  renewToken(): void {
    // While disconnected there is nothing to send: the next opening requests the current token itself.
    this.#updates.renewToken();
    this.#scheduleFlush({ wake: this.#connection.phase === 'refused' });
  }

  /** Connects at once when waiting or paused; reconnects an open link that has been silent for too long. */
  wake(): void {
    if (this.#session.isEmpty || (isOffline() && this.#connection.phase === 'waiting')) return;
    const silent = this.#connection.phase === 'open' && Date.now() - this.#lastActiveAt > SILENCE_ON_RETURN_MS;
    this.#transition({ type: silent ? 'reconnect' : 'wake' });
  }

  /** Reconnects: the network is back, possibly another one, and an open link may be dead. Costs only hashes. */
  online(): void {
    this.#transport = untried(this.#options.kinds);
    this.#transition({ type: 'reconnect' });
  }

  /** Drops the link: the network is gone, and an open link would look alive until its silence is detected. */
  offline(): void {
    this.#transition({ type: 'offline' });
  }

  /** A request sent at `sentAt` failed without a response. A link without activity since then is probably dead too. */
  suspect(sentAt: number): void {
    if (this.#connection.phase === 'open' && this.#lastActiveAt < sentAt) this.#onLost();
  }

  pause(): void {
    this.#transition({ type: 'pause' });
  }

  close(): void {
    this.#transition({ type: 'close' });
  }

  #transition(event: ConnectionEvent): void {
    const before = this.#connection;
    const after = step(before, event);
    if (after === before) return;
    this.#connection = after;
    if (after.phase !== 'open') this.#enter(after);
    if (after.phase !== 'closed' && !sameView(viewOf(before), viewOf(after))) this.#notifyViews();
  }

  /** Abandons the current attempt and acts on the new state. */
  #enter(connection: Connection): void {
    this.#attempt.abort();
    this.#session.reset();
    this.#options.trackedMutations.loseAll();
    clearTimeout(this.#timer);
    clearTimeout(this.#retryPreferredTimer);
    if (connection.phase === 'connecting') this.#connect();
    if (connection.phase === 'waiting') this.#setTimer(connection.delayMs, () => this.#transition({ type: 'elapsed' }));
  }

  #connect(): void {
    const { links, timeouts } = this.#options;
    const attempt = new AbortController();
    this.#attempt = attempt;
    this.#transport = retryPreferred(this.#transport, Date.now());
    this.#setTimer(timeouts.silenceMs, () => this.#onEnded(endedByError(SILENT)));
    const opening = { queries: this.#session.takeOpening(), signal: attempt.signal };
    this.#updates.start(links[this.#transport.kind](opening, this.#listenerFor(attempt)), attempt.signal);
  }

  #listenerFor(attempt: AbortController): LinkListener {
    /** Ignores the events of an abandoned attempt. */
    const current =
      <Args extends unknown[]>(handle: (...args: Args) => void) =>
      (...args: Args) => {
        if (!attempt.signal.aborted) handle(...args);
      };
    const { acceptMs, sessionMs } = this.#options.timeouts;
    // Proxies do not buffer WebSocket messages, so a late session there means a slow server.
    const openMs = this.#transport.kind === 'stream' ? sessionMs : acceptMs;
    return {
      sent: current(() => this.#setTimer(acceptMs, () => this.#fallBack())),
      accepted: current(() => this.#setTimer(openMs, () => this.#fallBack())),
      active: current(() => this.#onActive()),
      frame: current((messages) => this.#onFrame(messages)),
      ended: current((end) => this.#onEnded(end)),
    };
  }

  /** Until the session is open, activity does not extend the timer; only the `session` message does. */
  #onActive(): void {
    this.#lastActiveAt = Date.now();
    if (this.#connection.phase === 'open') this.#awaitActivity(this.#lastActiveAt);
  }

  #awaitActivity(now: number): void {
    const untilSilent = this.#lastActiveAt + this.#options.timeouts.silenceMs - now;
    if (untilSilent <= 0) this.#onSilence();
    else this.#setTimer(Math.min(untilSilent, CHECK_MS), () => this.#checkActivity(now));
  }

  #checkActivity(checkedAt: number): void {
    const now = Date.now();
    if (now - checkedAt > SILENCE_ON_RETURN_MS) this.#transition({ type: 'reconnect' });
    else this.#awaitActivity(now);
  }

  /**
   * A stream that was active only at its beginning, without a single heartbeat, is held in a proxy's buffer, which
   * passes on only what fills it: the first results did, and later messages have not.
   */
  #onSilence(): void {
    const activeMs = this.#lastActiveAt - this.#openedAt;
    if (this.#transport.kind === 'stream' && activeMs < this.#options.timeouts.silenceMs / 3) this.#fallBack();
    else this.#onEnded(endedByError(SILENT));
  }

  /** Applies the whole frame before any listener is notified, which happens at the next microtask. */
  #onFrame(messages: readonly LiveMessage[]): void {
    this.onFrame?.(messages);
    const result = this.#session.apply(messages);
    if (result.protocolError !== null) {
      this.#onProtocolError(result.protocolError);
      return;
    }
    const { queryEvents, sessionEvents } = result;
    for (const event of sessionEvents) if (event.type === 'session') this.#onSession(event.protocol);
    this.#deliver(queryEvents);
    if (queryEvents.some(({ type }) => type !== 'interrupted')) this.#transition({ type: 'delivered' });
    for (const event of sessionEvents) this.#onSessionEvent(event);
  }

  #onSession(protocol: number): void {
    if (protocol !== PROTOCOL) {
      this.#refuse(protocolMismatch(protocol));
      return;
    }
    this.#transport = proven(this.#transport);
    this.#unsupported.delete(this.#transport.kind);
    this.#transition({ type: 'accepted' });
    this.#openedAt = Date.now();
    this.#onActive();
    if (this.#transport.kind === 'polling') {
      this.#retryPreferredTimer = setTimeout(() => this.#transition({ type: 'reconnect' }), RETRY_PREFERRED_AFTER_MS);
      if (!this.#warnedOfPolling) void warnOfPolling([...this.#unsupported.values()]);
      this.#warnedOfPolling = true;
    }
    // Sends the subscriptions and tokens that changed while connecting.
    this.#scheduleFlush({ wake: false });
  }

  #onSessionEvent(event: SessionEvent): void {
    switch (event.type) {
      case 'session':
        return;
      case 'settled':
        this.#options.trackedMutations.settled(event.key, event.result);
        return;
      case 'included':
        this.#options.trackedMutations.included(event.key, this.#session.sinksOf(event.ids), event.result);
        return;
      case 'auth':
        if (this.#updates.tokenRequested(Date.now())) this.#scheduleFlush({ wake: false });
        else this.#refuse(errorFromPayload(event.error));
        return;
      case 'end':
        this.#transition({ type: 'ended', retryMs: event.retryMs, random: this.#options.random() });
        return;
      case 'error':
        this.#onMessageRejected(errorFromPayload(event.error));
    }
  }

  /** The server rejected a message of this client. */
  #onMessageRejected(error: ConvoyError): void {
    if (this.#connection.phase !== 'open' || isTransient(error)) this.#onEnded(endedByError(error));
    else if (revokesData(error)) this.#transition({ type: 'reconnect' });
    else this.#onProtocolError(error.message);
  }

  #onEnded(end: LinkEnd): void {
    const unproven = !isPreferred(this.#transport) && !this.#transport.proven;
    if (end.kind === 'unsupported') this.#unsupported.set(this.#transport.kind, end.error.message);
    if (end.kind === 'unsupported' || unproven) this.#fallBack();
    else if (end.kind === 'refused') this.#refuse(end.error);
    else if (end.kind === 'protocolError') this.#onProtocolError(end.error.message);
    else this.#onLost(end.error);
  }

  /** Starts over from the cached results, and logs a warning because the cause is a defect somewhere. */
  #onProtocolError(message: string): void {
    console.warn(`Convoy: ${message} Reconnecting.`);
    this.#transition({ type: 'protocolError', random: this.#options.random() });
  }

  /** Goes on to the next kind of link: no session gets through over the current one. */
  #fallBack(): void {
    const last = this.#transport.kind === 'polling';
    this.#transport = fallback(this.#transport, Date.now());
    if (last) this.#onLost();
    else this.#transition({ type: 'reconnect' });
  }

  #onLost(error?: ConvoyError): void {
    this.#transition(isOffline() ? { type: 'offline' } : { type: 'lost', random: this.#options.random() });
    // A transient failure other than an unavailable server is reported while reconnecting.
    if (error !== undefined && error.code !== 'UNAVAILABLE') this.#deliver(this.#session.fail(error));
  }

  #refuse(error: ConvoyError): void {
    this.#refusedBy = error.code;
    this.#transition({ type: 'refused' });
    this.#deliver(this.#session.fail(error));
  }

  #scheduleFlush({ wake }: { readonly wake: boolean }): void {
    this.#wakeOnFlush ||= wake;
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    queueMicrotask(() => {
      this.#flushScheduled = false;
      if (this.#connection.phase === 'closed') return;
      if (this.#session.isEmpty) this.#transition({ type: 'unused' });
      else if (this.#wakeOnFlush) this.#transition({ type: 'wake' });
      this.#wakeOnFlush = false;
      this.#notifyViews();
      this.#updates.flush();
    });
  }

  /** The server refused a change of subscriptions, or did not acknowledge it. */
  #onChangeRefused(error: ConvoyError, change: SessionChange): void {
    if (isTransient(error)) this.#onLost();
    // The session is unknown (another server, or a restarted one), or the caller has changed. A new session resolves
    // that, or reports the error.
    else if (revokesData(error) || error.code === 'NOT_FOUND') this.#transition({ type: 'reconnect' });
    else {
      this.#session.refused(change);
      this.#deliver(this.#session.fail(error, change.add));
    }
  }

  #deliver(events: readonly QueryEvent[]): void {
    for (const event of events) {
      const { query } = event;
      if (this.#session.isClosed(query)) continue;
      if (event.type === 'failed') this.#subscribeLater(query, retryAfterMs(event.error));
      if (event.type !== 'interrupted') query.onAnswer?.(event);
      if (event.type === 'result') query.sink.result(event.data);
      else if (event.type === 'same') query.sink.same();
      else if (event.type === 'failed') query.sink.failed(event.error);
      else query.sink.connection(this.#viewOf(query));
    }
  }

  /** The server has refused the query for so long (`rateLimit`), and does not run it until it is asked again. */
  #subscribeLater(query: SubscribedQuery, delayMs: number | null): void {
    const { signal } = this.#attempt;
    if (delayMs === null || this.#connection.phase !== 'open' || signal.aborted) return;
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', cancel);
      this.#session.subscribeAgain(query);
      this.#scheduleFlush({ wake: false });
    }, delayMs);
    // The next opening subscribes to all queries.
    const cancel = () => clearTimeout(timer);
    signal.addEventListener('abort', cancel, { once: true });
  }

  /** Reports the state of the connection to all subscriptions. */
  #notifyViews(): void {
    for (const query of [...this.#session.queries]) query.sink.connection(this.#viewOf(query));
  }

  #viewOf(query: SubscribedQuery): ConnectionView {
    return query.interrupted ? INTERRUPTED : viewOf(this.#connection);
  }

  #setTimer(ms: number, onElapsed: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(onElapsed, ms);
  }
}

function sameView(a: ConnectionView, b: ConnectionView): boolean {
  return a.connectionState === b.connectionState && a.isReconnecting === b.isReconnecting;
}

async function warnOfPolling(unsupported: readonly string[]): Promise<void> {
  // Loaded by now, because this client polls.
  const { pollingWarning } = await import('./polling-link.js');
  console.warn(pollingWarning(unsupported));
}
