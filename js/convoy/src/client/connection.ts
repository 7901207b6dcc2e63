/**
 * The life of one streaming connection, as a pure function from state and event to state. No clock, no randomness and
 * no I/O: the driver (`subscription.ts`) does what the state it has entered says, and reports back.
 *
 *   (start) ──▶ connecting ──accepted──▶ open ⟲ proven, interrupted, retry
 *                │ ▲ │                   │ │
 *           lost │ │ └──────refused──────┼─┴──▶ refused
 *                ▼ │ elapsed             │
 *               waiting ◀──────lost──────┘
 *
 *   waiting, refused, resting ──wake──▶ connecting
 *   connecting, open, waiting ──rest──▶ resting
 *   any but closed ──refresh──▶ connecting, anew
 *   any ──close──▶ closed, for good
 *
 * Invariants: `attempt` falls to 0 only when a server has proven that it delivers, so one that accepts and hangs up is
 * not stormed. Returning the same object means that nothing happened; a new `connecting` means "connect now".
 */
import type { ConnectionView } from './transport.js';

/** What a connection remembers from one phase to the next. */
interface Memory {
  /** Tries in a row that have not led to a delivering connection. */
  readonly attempt: number;
  /** The wait doubles from here; the server's `retry:` sets it. */
  readonly retryMs: number;
  /** A connection has delivered before, so the next one is a reconnect. */
  readonly delivered: boolean;
}

export type Connection = Memory &
  (
    | { readonly phase: 'connecting' }
    /** `interrupted`: the server is there and says that it cannot answer for now. */
    | { readonly phase: 'open'; readonly interrupted: boolean }
    | { readonly phase: 'waiting'; readonly delayMs: number }
    /** The server will not serve this query. Trying again by itself would only be refused again. */
    | { readonly phase: 'refused' }
    /** No one is looking; the server is spared until someone does. */
    | { readonly phase: 'resting' }
    | { readonly phase: 'closed' }
  );

export type ConnectionEvent =
  /** The server answered with a stream. */
  | { readonly type: 'accepted' }
  /** The stream has delivered an answer. */
  | { readonly type: 'proven' }
  /** The stream said `UNAVAILABLE`. */
  | { readonly type: 'interrupted' }
  | { readonly type: 'retry'; readonly ms: number }
  /** The connection failed, ended or fell silent. `random` in [0, 1) chooses the wait. */
  | { readonly type: 'lost'; readonly random: number }
  | { readonly type: 'refused' }
  /** The wait is over. */
  | { readonly type: 'elapsed' }
  /** Someone is looking again, or the network is back. */
  | { readonly type: 'wake' }
  /** Connect anew, even from an open connection. */
  | { readonly type: 'refresh' }
  | { readonly type: 'rest' }
  | { readonly type: 'close' };

/** The wait before the first retry where the server names none. */
const DEFAULT_RETRY_MS = 500;
/** No wait is longer: a screen is right again soon after its server is. */
const LONGEST_WAIT_MS = 10_000;
/** What a server may ask for by `retry:`; beyond it the line is damaged or hostile. */
const RETRY_RANGE_MS = { least: 50, most: 60_000 } as const;

export const STARTED: Connection = { phase: 'connecting', attempt: 0, retryMs: DEFAULT_RETRY_MS, delivered: false };

export function step(connection: Connection, event: ConnectionEvent): Connection {
  const { attempt, retryMs, delivered, phase } = connection;
  const memory: Memory = { attempt, retryMs, delivered };
  if (phase === 'closed') return connection;
  switch (event.type) {
    case 'close':
      return { ...memory, phase: 'closed' };
    case 'rest':
      return phase === 'refused' || phase === 'resting' ? connection : { ...memory, phase: 'resting' };
    case 'refresh':
      return { ...memory, phase: 'connecting' };
    case 'wake':
      return phase === 'connecting' || phase === 'open' ? connection : { ...memory, phase: 'connecting' };
    case 'elapsed':
      return phase === 'waiting' ? { ...memory, phase: 'connecting' } : connection;
    case 'accepted':
      return phase === 'connecting' ? { ...memory, phase: 'open', interrupted: false } : connection;
    case 'proven':
      return phase === 'open' ? proven(connection) : connection;
    case 'interrupted':
      return phase === 'open' && !connection.interrupted ? { ...connection, interrupted: true } : connection;
    case 'retry': {
      const asked = Math.min(Math.max(event.ms, RETRY_RANGE_MS.least), RETRY_RANGE_MS.most);
      return asked === retryMs ? connection : { ...connection, retryMs: asked };
    }
    case 'refused':
      return phase === 'connecting' || phase === 'open' ? { ...memory, phase: 'refused' } : connection;
    case 'lost':
      if (phase !== 'connecting' && phase !== 'open') return connection;
      return { ...memory, phase: 'waiting', attempt: attempt + 1, delayMs: waitMs(memory, event.random) };
  }
}

/** How a screen would show `connection`. */
export function viewOf(connection: Connection): ConnectionView {
  switch (connection.phase) {
    case 'open':
      return connection.interrupted
        ? { connectionState: 'connecting', isReconnecting: true }
        : { connectionState: 'open', isReconnecting: false };
    case 'connecting':
    case 'waiting':
      return { connectionState: 'connecting', isReconnecting: connection.delivered || connection.attempt > 0 };
    default:
      return { connectionState: 'closed', isReconnecting: false };
  }
}

function proven(connection: Connection & { readonly phase: 'open' }): Connection {
  if (connection.attempt === 0 && connection.delivered && !connection.interrupted) return connection;
  return { ...connection, attempt: 0, delivered: true, interrupted: false };
}

/** Full jitter: anywhere up to the exponential bound, so that a server's clients do not come back in step. */
function waitMs({ attempt, retryMs }: Memory, random: number): number {
  const bound = Math.max(retryMs, Math.min(retryMs * 2 ** attempt, LONGEST_WAIT_MS));
  return Math.round(random * bound);
}
