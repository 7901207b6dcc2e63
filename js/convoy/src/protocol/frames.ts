/**
 * What travels between the server and a client, and the one place where its text becomes these types: the answer of a
 * call (`POST /api/<kind>/<name>`), and the messages of a live session (`POST /api/live`, or `/api/ws`).
 *
 * A session's messages come in *frames*: what one commit changed, one message a line, applied together or not at all.
 * Reading is strict about what we rely on and silent about the rest, so that a newer server may say more. A change of
 * `MESSAGES` that an older client would misunderstand needs another `PROTOCOL` (a test watches over that).
 */
import type { ConvoyErrorPayload } from '../values/errors.js';

/** The number of these messages. A server that does not speak it refuses the session. */
export const PROTOCOL = 1;

/** The body of every answered call. */
export type CallAnswer =
  | { readonly ok: true; readonly data: unknown }
  | { readonly ok: false; readonly error: ConvoyErrorPayload };

/** What the server says in a session: the members of each message beside `type` and `seq`. */
export const MESSAGES = {
  /** Always first: the stream works, and this is its name. */
  session: { session: 'text', protocol: 'count' },
  /** The whole result of a query. */
  result: { id: 'count', hash: 'text', position: 'text?', data: 'json' },
  /** The result as a change of the one named by `from`; `rest` where the list is the `page` of an object. */
  rows: { id: 'count', from: 'text', hash: 'text', position: 'text?', rows: 'pieces', rest: 'object?' },
  /** What the client named by its hash is still the answer. */
  same: { id: 'count', hash: 'text', position: 'text?' },
  /** The query has no result now; without `id`, a message of the client's was not understood or not allowed. */
  error: { id: 'count?', error: 'failure' },
  /** All that the mutation with this key has changed was sent. */
  settled: { key: 'text' },
  /** The session's token has expired or is refused; nothing follows about queries until a new one is accepted. */
  auth: { error: 'failure' },
  /** The last message: come back after `retryMs`, which the server has spread already. */
  end: { reason: 'text', retryMs: 'count' },
} as const;

/** A piece of a list: a run of the one held, as `[start, count]`, or an element that was not in it. */
export type Piece = readonly [start: number, count: number] | { readonly row: unknown };

interface Members {
  text: string;
  'text?': string | undefined;
  count: number;
  'count?': number | undefined;
  json: unknown;
  'object?': Readonly<Record<string, unknown>> | undefined;
  pieces: readonly Piece[];
  failure: ConvoyErrorPayload;
}

type Said = typeof MESSAGES;

/** A message of one of the kinds `Type`. */
export type LiveMessageOf<Type extends keyof Said> = Type extends keyof Said
  ? { readonly type: Type; readonly seq: number } & {
      readonly [Name in keyof Said[Type]]: Said[Type][Name] extends keyof Members ? Members[Said[Type][Name]] : never;
    }
  : never;

/** `unknown` is a kind of a newer server: counted, and passed over. */
export type LiveMessage = LiveMessageOf<keyof Said> | { readonly type: 'unknown'; readonly seq: number };

/** A query as a session is asked for it. `hash` names the result the client holds, if any. */
export interface QueryWish {
  /** The client's number for it, never used twice in a session. */
  readonly id: number;
  readonly name: string;
  readonly args: unknown;
  readonly hash?: string;
}

/** What shall be different in an open session. */
export interface SessionChange {
  readonly add: readonly QueryWish[];
  readonly remove: readonly number[];
}

/** The answer in `text`, or `null` where something else answered (a proxy's page, say). */
export function parseAnswer(text: string): CallAnswer | null {
  const said = parseObject(text);
  if (said?.ok === true) return { ok: true, data: said.data ?? null };
  if (said?.ok === false && isFailure(said.error)) return { ok: false, error: said.error };
  return null;
}

/** The messages of a frame, none where it is a heartbeat; `null` where any of it is damaged. */
export function parseFrame(text: string): readonly LiveMessage[] | null {
  const messages: LiveMessage[] = [];
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const message = parseMessage(line);
    if (message === null) return null;
    messages.push(message);
  }
  return messages;
}

/** The message in `text`, or `null` where it is damaged. */
export function parseMessage(text: string): LiveMessage | null {
  const said = parseObject(text);
  if (said === null || typeof said.type !== 'string' || !isCount(said.seq)) return null;
  if (!Object.hasOwn(MESSAGES, said.type)) return { type: 'unknown', seq: said.seq };
  const members: Readonly<Record<string, keyof Members>> = MESSAGES[said.type as keyof Said];
  for (const [name, kind] of Object.entries(members)) {
    if (!IS[kind](said[name])) return null;
  }
  // Every member was looked at just now.
  return said as unknown as LiveMessage;
}

const IS: { readonly [Kind in keyof Members]: (value: unknown) => boolean } = {
  text: (value) => typeof value === 'string',
  'text?': (value) => value === undefined || typeof value === 'string',
  count: isCount,
  'count?': (value) => value === undefined || isCount(value),
  json: (value) => value !== undefined,
  'object?': (value) => value === undefined || isObject(value),
  pieces: (value) => Array.isArray(value) && value.every(isPiece),
  failure: isFailure,
};

function isPiece(value: unknown): value is Piece {
  if (Array.isArray(value)) return value.length === 2 && value.every(isCount);
  return isObject(value) && Object.hasOwn(value, 'row');
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Codes are checked by `errorFromPayload`, which reads one it does not know as `INTERNAL`. */
function isFailure(value: unknown): value is ConvoyErrorPayload {
  return isObject(value) && 'code' in value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseObject(text: string): Record<string, unknown> | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Not JSON is one of the answers this function gives: the caller says who spoke and what it means there.
    return null;
  }
  return isObject(value) ? value : null;
}
