/**
 * A live session made of plain calls, for where neither a stream nor a WebSocket gets through: every query is asked
 * again every two seconds or so, and the answers become the messages that a server would have sent.
 */
import type { LiveMessage, QueryWish } from '../protocol/frames.js';
import { type ConvoyError, errorFromPayload, errorPayloadFrom, isConvoyError } from '../values/errors.js';
import { endBy, type Link, type LinkAttempt, type LinkReader } from './link.js';

const EVERY_MS = 2_000;

export interface Polling {
  /** Asks one query once. */
  ask(query: QueryWish, signal: AbortSignal): Promise<unknown>;
  /** In [0, 1); spreads the clients of a server. */
  random(): number;
  readonly everyMs?: number | undefined;
}

export function openPolling(polling: Polling, { queries, signal }: LinkAttempt, reader: LinkReader): Link {
  const wanted = new Map(queries.map((query) => [query.id, query]));
  let seq = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** Counts the sweeps begun; only the latest goes on. */
  let latest = 0;

  const sweep = async () => {
    latest += 1;
    const turn = latest;
    clearTimeout(timer);
    const answers = await Promise.all([...wanted.values()].map((query) => answerOf(polling, query, signal)));
    if (signal.aborted || turn !== latest) return;
    const away = awayBy(answers);
    if (away !== null) {
      reader.ended(endBy(away));
      return;
    }
    if (seq === 0) reader.accepted();
    const opening = seq === 0 ? [{ type: 'session', seq: seq++, session: '', protocol: 1 } as const] : [];
    reader.alive();
    reader.frame([...opening, ...answers.map((answer) => messageOf(answer, seq++))]);
    timer = setTimeout(sweep, (polling.everyMs ?? EVERY_MS) * (0.75 + polling.random() / 2));
  };

  signal.addEventListener('abort', () => clearTimeout(timer));
  void sweep();
  return {
    change: async ({ add, remove, auth }) => {
      for (const id of remove) wanted.delete(id);
      for (const query of add) wanted.set(query.id, query);
      if (add.length > 0 || auth) void sweep();
    },
  };
}

type Answer = { readonly id: number } & ({ readonly data: unknown } | { readonly error: ConvoyError });

async function answerOf({ ask }: Polling, query: QueryWish, signal: AbortSignal): Promise<Answer> {
  try {
    return { id: query.id, data: await ask(query, signal) };
  } catch (error) {
    return { id: query.id, error: isConvoyError(error) ? error : errorFromPayload(error) };
  }
}

/** Why nobody is there; null where anyone was answered, since a function may be unavailable by itself. */
function awayBy(answers: readonly Answer[]): ConvoyError | null {
  const errors = answers.flatMap((answer) => ('error' in answer ? [answer.error] : []));
  const away = errors.length === answers.length && errors.every(({ code }) => code === 'UNAVAILABLE');
  return away ? (errors[0] ?? null) : null;
}

/** An empty hash: what came by a plain call has no name that a server knows. */
function messageOf(answer: Answer, seq: number): LiveMessage {
  if ('error' in answer) return { type: 'error', seq, id: answer.id, error: errorPayloadFrom(answer.error) };
  return { type: 'result', seq, id: answer.id, hash: '', position: undefined, data: answer.data };
}
