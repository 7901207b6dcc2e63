/**
 * The life of a client's one live connection, as a pure function from state and event to state. No clock, no randomness
 * and no I/O: the driver (`live-connection.ts`) does what the state it has entered says, and reports back.
 *
 *   idle ──wake──▶ connecting ──accepted──▶ open ⟲ proven
 *                   │ ▲ │                    │ │
 *        lost, ended│ │ └──────refused───────┼─┴──▶ refused
 *                   ▼ │ elapsed              │
 *                  waiting ◀───lost, ended───┘
 *
 *   waiting, refused, resting ──wake──▶ connecting
 *   connecting, open ──damaged──▶ connecting, again; waiting where that happened last time too
 *   connecting, open, waiting ──offline──▶ waiting, for long
 *   connecting, open, waiting ──rest──▶ resting
 *   any but idle, resting and closed ──refresh──▶ connecting, again
 *   any but closed ──leave──▶ idle
 *   any ──close──▶ closed, for good
 *
 * Invariants: `attempt` falls to 0 only when a server has proven that it delivers, so one that accepts and hangs up is
 * not stormed, and neither is one that delivers what cannot be read. Returning the same object means that nothing
 * happened; a new `connecting` means "connect now".
 */
import type { ConnectionView } from './transport.js';

/** What a connection remembers from one phase to the next. */
interface Memory {
  /** Tries in a row that have not led to a delivering connection. */
  readonly attempt: number;
  /** Connections in a row that ended by something unreadable. */
  readonly damages: number;
  /** A connection has delivered before, so the next one is a reconnect. */
  readonly delivered: boolean;
}

export type Connection = Memory &
  /** Nothing is watched. */
  (
    | { readonly phase: 'idle' }
    | { readonly phase: 'connecting' }
    | { readonly phase: 'open' }
    | { readonly phase: 'waiting'; readonly delayMs: number }
    /** The server will not serve this client. Trying again by itself would only be refused again. */
    | { readonly phase: 'refused' }
    /** No one is looking; the server is spared until someone does. */
    | { readonly phase: 'resting' }
    | { readonly phase: 'closed' }
  );

export type ConnectionEvent =
  /** The server has said which session this is. */
  | { readonly type: 'accepted' }
  /** The session has delivered something about a query. */
  | { readonly type: 'proven' }
  /** The connection failed, ended or fell silent. `random` in [0, 1) chooses the wait. */
  | { readonly type: 'lost'; readonly random: number }
  /** The browser has no network. It says so when it has one again. */
  | { readonly type: 'offline' }
  /** The server ended the session and asks for a pause, which it has spread over its clients. */
  | { readonly type: 'ended'; readonly retryMs: number; readonly random: number }
  /** What came cannot be right, or the server did not understand us: begin again from what is certain. */
  | { readonly type: 'damaged'; readonly random: number }
  | { readonly type: 'refused' }
  /** The wait is over. */
  | { readonly type: 'elapsed' }
  /** Something is watched, someone is looking again, or asks again. */
  | { readonly type: 'wake' }
  /** Connect again, even from an open connection; not where no one is looking. */
  | { readonly type: 'refresh' }
  | { readonly type: 'rest' }
  /** Nothing is watched any more. */
  | { readonly type: 'leave' }
  | { readonly type: 'close' };

/** The bound of the first wait; it doubles from here. */
const FIRST_WAIT_MS = 500;
/** No wait is longer: a screen is right again soon after its server is. */
const LONGEST_WAIT_MS = 10_000;
/** A request without a network fails at once, and the browser's console says so each time. */
const OFFLINE_WAIT_MS = 30_000;
/** No pause that a server asks for is believed beyond this. */
const LONGEST_PAUSE_MS = 60_000;

export const STARTED: Connection = { phase: 'idle', attempt: 0, damages: 0, delivered: false };

export function step(connection: Connection, event: ConnectionEvent): Connection {
  const { attempt, damages, delivered, phase } = connection;
  const memory: Memory = { attempt, damages, delivered };
  const live = phase === 'connecting' || phase === 'open';
  if (phase === 'closed') return connection;
  switch (event.type) {
    case 'close':
      return { ...memory, phase: 'closed' };
    case 'leave':
      return phase === 'idle' ? connection : STARTED;
    case 'rest':
      return live || phase === 'waiting' ? { ...memory, phase: 'resting' } : connection;
    case 'refresh':
      return phase === 'idle' || phase === 'resting' ? connection : { ...memory, phase: 'connecting' };
    case 'wake':
      return live ? connection : { ...memory, phase: 'connecting' };
    case 'elapsed':
      return phase === 'waiting' ? { ...memory, phase: 'connecting' } : connection;
    case 'accepted':
      return phase === 'connecting' ? { ...memory, phase: 'open' } : connection;
    case 'proven':
      if (phase !== 'open' || (attempt === 0 && delivered)) return connection;
      return { ...connection, attempt: 0, delivered: true };
    case 'refused':
      return live ? { ...memory, phase: 'refused' } : connection;
    case 'lost':
      return live ? waiting(memory, waitMs(attempt, event.random)) : connection;
    case 'offline':
      return live || phase === 'waiting' ? waiting(memory, OFFLINE_WAIT_MS) : connection;
    case 'ended': {
      // Where this was not the first failure, the server's own spread may not be enough.
      const own = attempt === 0 ? 0 : waitMs(attempt, event.random);
      return live ? waiting(memory, Math.min(event.retryMs, LONGEST_PAUSE_MS) + own) : connection;
    }
    case 'damaged': {
      if (!live) return connection;
      const next = { ...memory, damages: damages + 1 };
      if (damages === 0 && attempt === 0) return { ...next, attempt: 1, phase: 'connecting' };
      return { ...waiting(next, waitMs(Math.max(attempt, damages), event.random)), damages: damages + 1 };
    }
  }
}

/** How a screen would show `connection`. */
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

/** Another try has failed; any end but by damage makes up for the damages before. */
function waiting(memory: Memory, delayMs: number): Connection {
  return { ...memory, phase: 'waiting', attempt: memory.attempt + 1, damages: 0, delayMs };
}

/** Full jitter: anywhere up to the exponential bound, so that a server's clients do not come back in step. */
function waitMs(attempt: number, random: number): number {
  return Math.round(random * Math.min(FIRST_WAIT_MS * 2 ** attempt, LONGEST_WAIT_MS));
}
