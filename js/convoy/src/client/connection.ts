/**
 * The state machine of a client's live connection: a pure function from state and event to state. No clock, randomness
 * or I/O: the driver (`live-connection.ts`) acts on each state entered and feeds events back.
 *
 *   idle ──wake──▶ connecting ──accepted──▶ open ⟲ delivered
 *                   │ ▲ │                    │ │
 *        lost, ended│ │ └──────refused───────┼─┴──▶ refused
 *                   ▼ │ elapsed              │
 *                  waiting ◀───lost, ended───┘
 *
 *   waiting, refused, paused ──wake──▶ connecting
 *   connecting, open ──protocolError──▶ connecting, again; waiting when the previous connection ended by one too
 *   connecting, open, waiting ──offline──▶ waiting, with a long delay
 *   connecting, open, waiting ──pause──▶ paused
 *   any but idle, paused and closed ──reconnect──▶ connecting, again
 *   any but closed ──unused──▶ idle
 *   any ──close──▶ closed, finally
 *
 * Invariants: `attempt` resets to 0 only when a server has delivered, so a server that accepts and hangs up, or that
 * delivers malformed data, is not flooded with reconnects. Returning the same object means no transition; a new
 * `connecting` object means "connect now".
 */
import type { ConnectionView } from './transport.js';

/** The state that a connection carries over from one phase to the next. */
interface History {
  /** Consecutive attempts that have not led to a delivering connection. */
  readonly attempt: number;
  /** How long these attempts were delayed together, without the delays for a network that was away. */
  readonly delayedMs: number;
  /** Consecutive connections that ended by a protocol error. */
  readonly protocolErrors: number;
  /** A connection has delivered before, so the next one is a reconnect. */
  readonly delivered: boolean;
}

export type Connection = History &
  /** There are no subscriptions. */
  (
    | { readonly phase: 'idle' }
    | { readonly phase: 'connecting' }
    | { readonly phase: 'open' }
    | { readonly phase: 'waiting'; readonly delayMs: number }
    /** The server refused this client. An automatic retry would only be refused again. */
    | { readonly phase: 'refused' }
    /** The page is hidden; no connection is kept until it is visible. */
    | { readonly phase: 'paused' }
    | { readonly phase: 'closed' }
  );

export type ConnectionEvent =
  /** The server has opened the session. */
  | { readonly type: 'accepted' }
  /** The session has delivered a message about a query. */
  | { readonly type: 'delivered' }
  /** The connection failed, ended or timed out. `random` in [0, 1) jitters the delay. */
  | { readonly type: 'lost'; readonly random: number }
  /** The browser has no network. It reports when the network is back. */
  | { readonly type: 'offline' }
  /** The server ended the session and requests a delay, which it has already jittered over its clients. */
  | { readonly type: 'ended'; readonly retryMs: number; readonly random: number }
  /** A message was malformed or inconsistent, here or at the server: start over from the cached results. */
  | { readonly type: 'protocolError'; readonly random: number }
  | { readonly type: 'refused' }
  /** The delay is over. */
  | { readonly type: 'elapsed' }
  /** A subscription was added, the page became visible, or the application requested a result. */
  | { readonly type: 'wake' }
  /** Connect again, even from an open connection; not where the connection is paused. */
  | { readonly type: 'reconnect' }
  | { readonly type: 'pause' }
  /** The last subscription was removed. */
  | { readonly type: 'unused' }
  | { readonly type: 'close' };

/** The upper bound of the first delays. Later ones are bounded by the sum of those before. */
const BASE_DELAY_MS = 500;
/** The upper bound of every delay, so that clients recover soon after their server. */
const MAX_DELAY_MS = 10_000;
/** Without a network each request fails at once, and the browser logs it each time. */
const OFFLINE_DELAY_MS = 30_000;
/** The longest delay accepted from a server. */
const MAX_SERVER_DELAY_MS = 60_000;

export const INITIAL: Connection = { phase: 'idle', attempt: 0, delayedMs: 0, protocolErrors: 0, delivered: false };

export function step(connection: Connection, event: ConnectionEvent): Connection {
  const { attempt, delayedMs, protocolErrors, delivered, phase } = connection;
  const history: History = { attempt, delayedMs, protocolErrors, delivered };
  const live = phase === 'connecting' || phase === 'open';
  if (phase === 'closed') return connection;
  switch (event.type) {
    case 'close':
      return { ...history, phase: 'closed' };
    case 'unused':
      return phase === 'idle' ? connection : INITIAL;
    case 'pause':
      return live || phase === 'waiting' ? { ...history, phase: 'paused' } : connection;
    case 'reconnect':
      return phase === 'idle' || phase === 'paused' ? connection : { ...history, phase: 'connecting' };
    case 'wake':
      return live ? connection : { ...history, phase: 'connecting' };
    case 'elapsed':
      return phase === 'waiting' ? { ...history, phase: 'connecting' } : connection;
    case 'accepted':
      return phase === 'connecting' ? { ...history, phase: 'open' } : connection;
    case 'delivered':
      if (phase !== 'open' || (attempt === 0 && delivered)) return connection;
      return { ...connection, attempt: 0, delayedMs: 0, delivered: true };
    case 'refused':
      return live ? { ...history, phase: 'refused' } : connection;
    case 'lost':
      return live ? waiting(history, backoffMs(delayedMs, event.random)) : connection;
    case 'offline':
      return live || phase === 'waiting' ? { ...waiting(history, OFFLINE_DELAY_MS), delayedMs } : connection;
    case 'ended': {
      // After an earlier failure, the server's own jitter may not be enough.
      const extra = attempt === 0 ? 0 : backoffMs(delayedMs, event.random);
      return live ? waiting(history, Math.min(event.retryMs, MAX_SERVER_DELAY_MS) + extra) : connection;
    }
    case 'protocolError': {
      if (!live) return connection;
      const next = { ...history, protocolErrors: protocolErrors + 1 };
      if (protocolErrors === 0 && attempt === 0) return { ...next, attempt: 1, phase: 'connecting' };
      // By their number, because the server may deliver between two of them.
      const delayMs = backoffMs(BASE_DELAY_MS * 2 ** Math.max(attempt, protocolErrors), event.random);
      return { ...waiting(next, delayMs), protocolErrors: protocolErrors + 1 };
    }
  }
}

/** The state of `connection` that applications see. */
export function viewOf({ phase, delivered, attempt }: Connection): ConnectionView {
  switch (phase) {
    case 'open':
      return { connectionState: 'open', isReconnecting: false };
    case 'connecting':
    case 'waiting':
      return { connectionState: 'connecting', isReconnecting: delivered || attempt > 0 };
    default:
      return { connectionState: 'closed', isReconnecting: false };
  }
}

/** Counts a failed attempt. An end other than by a protocol error resets the count of those. */
function waiting(history: History, delayMs: number): Connection {
  const { attempt, delayedMs } = history;
  return {
    ...history,
    phase: 'waiting',
    attempt: attempt + 1,
    delayedMs: delayedMs + delayMs,
    protocolErrors: 0,
    delayMs,
  };
}

/**
 * Exponential backoff with full jitter, so that a server's clients do not reconnect in step. A delay that is bounded by
 * the sum of those before is at most as long as the server was away.
 */
function backoffMs(boundMs: number, random: number): number {
  return Math.round(random * Math.min(Math.max(BASE_DELAY_MS, boundMs), MAX_DELAY_MS));
}
