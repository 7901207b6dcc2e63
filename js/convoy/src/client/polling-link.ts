/**
 * A live session made of plain calls, for where neither a stream nor a WebSocket gets through: runs every query again
 * about every two seconds and turns the results into the messages that a server would have sent.
 */
import type { LiveMessage, QueryDescriptor } from '../protocol/frames.js';
import { type ConvoyError, errorFromPayload, errorPayloadFrom, isConvoyError } from '../values/errors.js';
import { endedByError, type Link, type LinkAttempt, type LinkListener } from './link.js';

const INTERVAL_MS = 2_000;

export interface Polling {
  /** Calls one query once. */
  call(query: QueryDescriptor, signal: AbortSignal): Promise<unknown>;
  /** In [0, 1); jitters the interval, so that a server's clients do not poll in step. */
  random(): number;
  readonly intervalMs?: number | undefined;
}

export function openPolling(polling: Polling, { queries, signal }: LinkAttempt, listener: LinkListener): Link {
  const subscribed = new Map(queries.map((query) => [query.id, query]));
  let seq = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** The number of the latest round; the results of earlier ones are dropped. */
  let latestRound = 0;

  const poll = async () => {
    latestRound += 1;
    const round = latestRound;
    clearTimeout(timer);
    const results = await Promise.all([...subscribed.values()].map((query) => callQuery(polling, query, signal)));
    if (signal.aborted || round !== latestRound) return;
    const unavailable = serverUnavailable(results);
    if (unavailable !== null) {
      listener.ended(endedByError(unavailable));
      return;
    }
    if (seq === 0) listener.accepted();
    const opening = seq === 0 ? [{ type: 'session', seq: seq++, session: '', protocol: 1 } as const] : [];
    listener.active();
    listener.frame([...opening, ...results.map((result) => messageOf(result, seq++))]);
    timer = setTimeout(poll, (polling.intervalMs ?? INTERVAL_MS) * (0.75 + polling.random() / 2));
  };

  signal.addEventListener('abort', () => clearTimeout(timer));
  void poll();
  return {
    change: async ({ add, remove, auth }) => {
      for (const id of remove) subscribed.delete(id);
      for (const query of add) subscribed.set(query.id, query);
      if (add.length > 0 || auth) void poll();
    },
  };
}

/** The warning of a client that polls. `unsupported` are the causes for which other kinds of links do not work. */
export function pollingWarning(unsupported: readonly string[]): string {
  const causes =
    unsupported.length > 0 ? unsupported : ['A proxy between the browser and the server probably buffers responses.'];
  const warning =
    'Convoy: live queries are polled every two seconds, because neither a stream nor a WebSocket is open.';
  return [warning, ...new Set(causes), 'See "Connections" in the documentation.'].join(' ');
}

type PollResult = { readonly id: number } & ({ readonly data: unknown } | { readonly error: ConvoyError });

async function callQuery({ call }: Polling, query: QueryDescriptor, signal: AbortSignal): Promise<PollResult> {
  try {
    return { id: query.id, data: await call(query, signal) };
  } catch (error) {
    return { id: query.id, error: isConvoyError(error) ? error : errorFromPayload(error) };
  }
}

/**
 * The error of an unavailable server: every query failed with it. One query alone may fail with `UNAVAILABLE` itself.
 */
function serverUnavailable(results: readonly PollResult[]): ConvoyError | null {
  const errors = results.flatMap((result) => ('error' in result ? [result.error] : []));
  const unavailable = errors.length === results.length && errors.every(({ code }) => code === 'UNAVAILABLE');
  return unavailable ? (errors[0] ?? null) : null;
}

/** The hash is empty because the server names no hash for the result of a plain call. */
function messageOf(result: PollResult, seq: number): LiveMessage {
  if ('error' in result) return { type: 'error', seq, id: result.id, error: errorPayloadFrom(result.error) };
  return { type: 'result', seq, id: result.id, hash: '', position: undefined, cause: undefined, data: result.data };
}
