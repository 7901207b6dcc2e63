/**
 * Drives the one live connection: does what its state (`connection.ts`) says, over the way that works here (`ways.ts`),
 * has the session (`session.ts`) told of what is wanted (`outbox.ts`), and hands what it brings to the sinks. Its own
 * are only the timers and the attempt in use.
 */
import { type LiveMessage, PROTOCOL, type SessionChange } from '../protocol/frames.js';
import { ConvoyError, errorFromPayload } from '../values/errors.js';
import { type Connection, type ConnectionEvent, STARTED, step, viewOf } from './connection.js';
import type { Position } from './consistency-token.js';
import { endBy, isPassing, type LinkEnd, type LinkReader, type OpenLink, type Way } from './link.js';
import type { Settlements } from './pending-mutations.js';
import { type Report, Session, type Signal, type WantedQuery } from './session.js';
import { takesDataAway } from './snapshot.js';
import { Outbox } from './subscription-updates.js';
import type { ConnectionView, SubscribeRequest, Subscription, SubscriptionSink } from './transport.js';
import { BEST, BETTER_AFTER_MS, fallback, proven, retryPreferred, type TransportState } from './transport-fallback.js';
import { isOffline } from './visibility.js';

export interface LiveTimes {
  /**
   * The server sends a heartbeat each 15 s. Two missed and some grace mean that the path is dead, whatever TCP
   * believes. A change that is not answered in this time means the same.
   */
  readonly silenceMs: number;
  /** A link that is not taken up in this time is held back somewhere, perhaps by the browser's limit of connections. */
  readonly acceptMs: number;
  /** A session that has not begun this long after its stream was accepted sits in a proxy's buffer. */
  readonly sessionMs: number;
}

export const LIVE_TIMES: LiveTimes = { silenceMs: 40_000, acceptMs: 10_000, sessionMs: 3_000 };
/** On return to a page, silence longer than one heartbeat is enough: timers slept while the machine did. */
const SILENCE_ON_RETURN_MS = 20_000;

export interface LiveConnectionOptions {
  readonly links: Readonly<Record<Way, OpenLink>>;
  readonly position: Position;
  /** Where the changes stand that this process was told of. */
  readonly acknowledged: Position;
  readonly settlements: Settlements;
  readonly times: LiveTimes;
  readonly random: () => number;
}

const SILENT = new ConvoyError('UNAVAILABLE', 'The server has fallen silent');

const INTERRUPTED: ConnectionView = { connectionState: 'connecting', isReconnecting: true };

export class LiveConnection {
  readonly #options: LiveConnectionOptions;
  readonly #session: Session;
  readonly #outbox: Outbox;
  #connection: Connection = STARTED;
  #ways: TransportState = BEST;
  #attempt = new AbortController();
  /** Ends a wait, or a silence. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #better: ReturnType<typeof setTimeout> | undefined;
  #openedAt = 0;
  #heardAt = 0;
  #warned = false;
  /** A look at what is wanted comes at the next microtask; so one request carries what one tick has asked for. */
  #lookDue = false;
  #wakeDue = false;

  constructor(options: LiveConnectionOptions) {
    this.#options = options;
    this.#session = new Session(options.position);
    this.#outbox = new Outbox(this.#session, (...refused) => this.#unchanged(...refused), options.times.silenceMs);
  }

  /** The open session's name; null while there is none, or none that settles mutations. */
  get session(): string | null {
    return this.#session.name || null;
  }

  get way(): Way {
    return this.#ways.way;
  }

  subscribe(request: SubscribeRequest, sink: SubscriptionSink): Subscription {
    const query = this.#session.add(request, sink);
    // Someone new is no reason to cut a wait short: where a server is away, screens come and go all the more.
    this.#look({ wake: this.#connection.phase !== 'waiting' });
    return {
      isBehind: () =>
        this.#connection.phase === 'open' && this.#session.isBehind(query, this.#options.acknowledged.latest),
      refresh: () => {
        // What it is answered by shall lack none of them, whichever server answers.
        this.#options.position.note(this.#options.acknowledged.latest);
        this.#session.renew(query);
        this.#look({ wake: true });
      },
      close: () => {
        this.#session.remove(query);
        this.#look({ wake: false });
      },
    };
  }

  /** Who asks may be somebody else now, by something that no token tells. A new session costs hashes. */
  reopen(): void {
    this.#take({ type: 'refresh' });
  }

  /** The caller's token is another one. */
  renew(): void {
    // A connection that is made later asks for its token then.
    this.#outbox.renew();
    this.#look({ wake: this.#connection.phase === 'refused' });
  }

  /** Someone is looking again: what waits or rests connects at once, and an open link must not have been silent. */
  wake(): void {
    if (this.#session.isEmpty || (isOffline() && this.#connection.phase === 'waiting')) return;
    const silent = this.#connection.phase === 'open' && Date.now() - this.#heardAt > SILENCE_ON_RETURN_MS;
    this.#take({ type: silent ? 'refresh' : 'wake' });
  }

  /** The network came back, perhaps another one: an open link may be dead without knowing. Costs hashes. */
  online(): void {
    this.#ways = BEST;
    this.#take({ type: 'refresh' });
  }

  /** There is no network any more. An open link would look alive until its silence is noticed. */
  offline(): void {
    this.#take({ type: 'offline' });
  }

  /** A request that left at `askedAt` got no answer. What was not heard of since has probably gone the same way. */
  suspect(askedAt: number): void {
    if (this.#connection.phase === 'open' && this.#heardAt < askedAt) this.#lost();
  }

  rest(): void {
    this.#take({ type: 'rest' });
  }

  close(): void {
    this.#take({ type: 'close' });
  }

  #take(event: ConnectionEvent): void {
    const before = this.#connection;
    const after = step(before, event);
    if (after === before) return;
    this.#connection = after;
    if (after.phase !== 'open') this.#enter(after);
    if (after.phase !== 'closed' && !sameView(viewOf(before), viewOf(after))) this.#tell();
  }

  /** Leaves whatever was under way and does what the state says. */
  #enter(connection: Connection): void {
    this.#attempt.abort();
    this.#session.lose();
    this.#options.settlements.settleAll();
    clearTimeout(this.#timer);
    clearTimeout(this.#better);
    if (connection.phase === 'connecting') this.#connect();
    if (connection.phase === 'waiting') this.#after(connection.delayMs, () => this.#take({ type: 'elapsed' }));
  }

  #connect(): void {
    const { links, times } = this.#options;
    const attempt = new AbortController();
    this.#attempt = attempt;
    this.#ways = retryPreferred(this.#ways, Date.now());
    this.#after(times.silenceMs, () => this.#ended(endBy(SILENT)));
    const opening = { queries: this.#session.open(), signal: attempt.signal };
    this.#outbox.begin(links[this.#ways.way](opening, this.#readerOf(attempt)), attempt.signal);
  }

  #readerOf(attempt: AbortController): LinkReader {
    /** What a link says after it was left behind is about the past. */
    const current =
      <Said extends unknown[]>(act: (...said: Said) => void) =>
      (...said: Said) => {
        if (!attempt.signal.aborted) act(...said);
      };
    const { acceptMs, sessionMs } = this.#options.times;
    // Nothing holds back what is said over a WebSocket: there, a session that is late is a server that is slow.
    const beginMs = this.#ways.way === 'stream' ? sessionMs : acceptMs;
    return {
      asked: current(() => this.#after(acceptMs, () => this.#giveWay())),
      accepted: current(() => this.#after(beginMs, () => this.#giveWay())),
      alive: current(() => this.#heard()),
      frame: current((messages) => this.#hear(messages)),
      ended: current((end) => this.#ended(end)),
    };
  }

  /** Until there is a session, nothing but its beginning counts as a sign of life. */
  #heard(): void {
    this.#heardAt = Date.now();
    if (this.#connection.phase === 'open') this.#after(this.#options.times.silenceMs, () => this.#silent());
  }

  /**
   * A stream that was heard of only at its beginning, not even by one heartbeat, sits in a buffer that passes on what
   * fills it: the first results did, and nothing since.
   */
  #silent(): void {
    const lastedMs = this.#heardAt - this.#openedAt;
    if (this.#ways.way === 'stream' && lastedMs < this.#options.times.silenceMs / 3) this.#giveWay();
    else this.#ended(endBy(SILENT));
  }

  /** All of a frame is applied before any listener hears of it; who listens is told at the next microtask. */
  #hear(messages: readonly LiveMessage[]): void {
    const reading = this.#session.read(messages);
    if (reading.damaged !== null) {
      this.#damaged(reading.damaged);
      return;
    }
    const { reports, signals } = reading;
    for (const signal of signals) if (signal.type === 'session') this.#began(signal.protocol);
    this.#deliver(reports);
    if (reports.some(({ type }) => type !== 'interrupted')) this.#take({ type: 'proven' });
    for (const signal of signals) this.#heed(signal);
  }

  #began(protocol: number): void {
    if (protocol !== PROTOCOL) {
      this.#refuse(otherProtocol(protocol));
      return;
    }
    this.#ways = proven(this.#ways);
    this.#take({ type: 'accepted' });
    this.#openedAt = Date.now();
    this.#heard();
    if (this.#ways.way === 'polling') {
      this.#better = setTimeout(() => this.#take({ type: 'refresh' }), BETTER_AFTER_MS);
      if (!this.#warned) console.warn(POLLING);
      this.#warned = true;
    }
    // What was wanted or renewed while connecting.
    this.#look({ wake: false });
  }

  #heed(signal: Signal): void {
    switch (signal.type) {
      case 'session':
        return;
      case 'settled':
        this.#options.settlements.settle(signal.key);
        return;
      case 'auth':
        if (this.#outbox.demanded(Date.now())) this.#look({ wake: false });
        else this.#refuse(errorFromPayload(signal.error));
        return;
      case 'end':
        this.#take({ type: 'ended', retryMs: signal.retryMs, random: this.#options.random() });
        return;
      case 'error':
        this.#misunderstood(errorFromPayload(signal.error));
    }
  }

  /** The server could not do what a message of ours says. */
  #misunderstood(error: ConvoyError): void {
    if (this.#connection.phase !== 'open' || isPassing(error)) this.#ended(endBy(error));
    else if (takesDataAway(error)) this.#take({ type: 'refresh' });
    else this.#damaged(error.message);
  }

  #ended(end: LinkEnd): void {
    const untried = this.#ways.way !== BEST.way && !this.#ways.proven;
    if (end.kind === 'unfit' || untried) this.#giveWay();
    else if (end.kind === 'refused') this.#refuse(end.error);
    else if (end.kind === 'damaged') this.#damaged(end.error.message);
    else this.#lost(end.error);
  }

  /** Begins again from what is certain. Somebody should look into it, so it is not passed over in silence. */
  #damaged(what: string): void {
    console.warn(`Convoy: ${what}; reconnecting.`);
    this.#take({ type: 'damaged', random: this.#options.random() });
  }

  /** No session gets through this way. */
  #giveWay(): void {
    const last = this.#ways.way === 'polling';
    this.#ways = fallback(this.#ways, Date.now());
    if (last) this.#lost();
    else this.#take({ type: 'refresh' });
  }

  #lost(error?: ConvoyError): void {
    this.#take(isOffline() ? { type: 'offline' } : { type: 'lost', random: this.#options.random() });
    // A failure that passes, and is more than an absence, is shown meanwhile.
    if (error !== undefined && error.code !== 'UNAVAILABLE') this.#deliver(this.#session.fail(error));
  }

  #refuse(error: ConvoyError): void {
    this.#take({ type: 'refused' });
    this.#deliver(this.#session.fail(error));
  }

  #look({ wake }: { readonly wake: boolean }): void {
    this.#wakeDue ||= wake;
    if (this.#lookDue) return;
    this.#lookDue = true;
    queueMicrotask(() => {
      this.#lookDue = false;
      if (this.#connection.phase === 'closed') return;
      if (this.#session.isEmpty) this.#take({ type: 'leave' });
      else if (this.#wakeDue) this.#take({ type: 'wake' });
      this.#wakeDue = false;
      this.#tell();
      this.#outbox.send();
    });
  }

  /** The server did not take a change in. */
  #unchanged(error: ConvoyError, change: SessionChange): void {
    if (isPassing(error)) this.#lost();
    // Another server, or the same one restarted; or we are someone else by now. A new session puts that right, or says
    // what is wrong.
    else if (takesDataAway(error) || error.code === 'NOT_FOUND') this.#take({ type: 'refresh' });
    else {
      this.#session.refused(change);
      this.#deliver(this.#session.fail(error, change.add));
    }
  }

  #deliver(reports: readonly Report[]): void {
    for (const report of reports) {
      const { query } = report;
      if (this.#session.isOver(query)) continue;
      if (report.type === 'result') query.sink.result(report.data);
      else if (report.type === 'same') query.sink.same();
      else if (report.type === 'failed') query.sink.failed(report.error);
      else query.sink.connection(this.#viewOf(query));
    }
  }

  #tell(): void {
    for (const query of [...this.#session.wanted]) query.sink.connection(this.#viewOf(query));
  }

  #viewOf(query: WantedQuery): ConnectionView {
    return query.interrupted ? INTERRUPTED : viewOf(this.#connection);
  }

  #after(ms: number, act: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(act, ms);
  }
}

const POLLING =
  'Convoy: neither a stream nor a WebSocket gets through to the server, so live queries are asked again every two ' +
  'seconds. Something on the way holds answers back; see "Connections" in the documentation.';

function otherProtocol(theirs: number): ConvoyError {
  const which = `The server speaks protocol ${theirs} and this client ${PROTOCOL}`;
  return new ConvoyError('INTERNAL', `${which}: load the page again, or bring both to one version`);
}

function sameView(a: ConnectionView, b: ConnectionView): boolean {
  return a.connectionState === b.connectionState && a.isReconnecting === b.isReconnecting;
}
