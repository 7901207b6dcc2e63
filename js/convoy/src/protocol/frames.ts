/**
 * The wire format between server and client, and its only parser: the response to a call (`POST /api/<kind>/<name>`),
 * and the messages of a live session (`POST /api/live`, or `/api/ws`).
 *
 * A session's messages come in *frames*: the changes of one commit, one message per line, applied together or not at
 * all. Parsing is strict about the members this client uses and ignores all others, so that a newer server may send
 * more. A change of `MESSAGES` that an older client would misunderstand requires another `PROTOCOL` (enforced by a
 * test).
 */
import type { ConvoyErrorPayload } from '../values/errors.js';

/** The version of these messages. A server that does not support it refuses the session. */
export const PROTOCOL = 1;

/** The body of the response to a call. */
export type CallAnswer =
  | { readonly ok: true; readonly data: unknown }
  | { readonly ok: false; readonly error: ConvoyErrorPayload };

/** The messages a server sends in a session: the members of each beside `type` and `seq`. */
export const MESSAGES = {
  /** Always first: the session is open, and this is its name. */
  session: { session: 'text', protocol: 'count' },
  /** The whole result of a query. `cause`, in development only: why its run was made. */
  result: { id: 'count', hash: 'text', position: 'text?', cause: 'text?', data: 'json' },
  /** The result as a patch of the one whose hash is `from`; `rest` where the list is the `page` of an object. */
  rows: { id: 'count', from: 'text', hash: 'text', position: 'text?', cause: 'text?', rows: 'pieces', rest: 'object?' },
  /** The result that the client has under this hash is still current. */
  same: { id: 'count', hash: 'text', position: 'text?' },
  /** The query failed; without `id`, a message of the client was malformed or not allowed. */
  error: { id: 'count?', error: 'failure' },
  /** All changes of the mutation with this idempotency key were sent. Its result, if it is short. */
  settled: { key: 'text', result: 'json?' },
  /** The results sent for the queries `ids` have all changes of a mutation that is not settled yet. */
  included: { key: 'text', result: 'json?', ids: 'counts' },
  /** The session's token has expired or was rejected; the server sends no results until it accepts a new one. */
  auth: { error: 'failure' },
  /** The last message: reconnect after `retryMs`, which the server has already jittered. */
  end: { reason: 'text', retryMs: 'count' },
} as const;

/** A piece of a list: a run of the client's list, as `[start, count]`, or a new element. */
export type Piece = readonly [start: number, count: number] | { readonly row: unknown };

interface MemberTypes {
  text: string;
  'text?': string | undefined;
  count: number;
  'count?': number | undefined;
  counts: readonly number[];
  json: unknown;
  'json?': unknown;
  'object?': Readonly<Record<string, unknown>> | undefined;
  pieces: readonly Piece[];
  failure: ConvoyErrorPayload;
}

type Messages = typeof MESSAGES;

/** A message whose type is one of `Type`. */
export type LiveMessageOf<Type extends keyof Messages> = Type extends keyof Messages
  ? { readonly type: Type; readonly seq: number } & {
      readonly [Name in keyof Messages[Type]]: Messages[Type][Name] extends keyof MemberTypes
        ? MemberTypes[Messages[Type][Name]]
        : never;
    }
  : never;

/** `unknown` is a type that only newer servers send: its `seq` counts, and the rest is ignored. */
export type LiveMessage = LiveMessageOf<keyof Messages> | { readonly type: 'unknown'; readonly seq: number };

/** A query as the client subscribes to it. `hash` is the hash of the client's cached result, if it has one. */
export interface QueryDescriptor {
  /** Assigned by the client, never used twice in a session. */
  readonly id: number;
  readonly name: string;
  readonly args: unknown;
  readonly hash?: string;
}

/** Changes to the subscriptions of an open session. */
export interface SessionChange {
  readonly add: readonly QueryDescriptor[];
  readonly remove: readonly number[];
}

/** Parses the response to a call; `null` where it is not Convoy's (but a proxy's page, for example). */
export function parseAnswer(text: string): CallAnswer | null {
  const body = parseObject(text);
  if (body?.ok === true) return { ok: true, data: body.data ?? null };
  if (body?.ok === false && isFailure(body.error)) return { ok: false, error: body.error };
  return null;
}

/** Parses a frame: its messages, none for a heartbeat; `null` where any of them is malformed. */
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

/** Parses a message; `null` where it is malformed. */
export function parseMessage(text: string): LiveMessage | null {
  const message = parseObject(text);
  if (message === null || typeof message.type !== 'string' || !isCount(message.seq)) return null;
  if (!Object.hasOwn(MESSAGES, message.type)) return { type: 'unknown', seq: message.seq };
  const members: Readonly<Record<string, keyof MemberTypes>> = MESSAGES[message.type as keyof Messages];
  for (const [name, type] of Object.entries(members)) {
    if (!HAS_TYPE[type](message[name])) return null;
  }
  // Sound because the loop has checked every member.
  return message as unknown as LiveMessage;
}

const HAS_TYPE: { readonly [Kind in keyof MemberTypes]: (value: unknown) => boolean } = {
  text: (value) => typeof value === 'string',
  'text?': (value) => value === undefined || typeof value === 'string',
  count: isCount,
  'count?': (value) => value === undefined || isCount(value),
  counts: (value) => Array.isArray(value) && value.every(isCount),
  json: (value) => value !== undefined,
  'json?': () => true,
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

/** `errorFromPayload` checks the code, and turns an unknown one into `INTERNAL`. */
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
    // Not an error here: the caller knows where the text came from and what malformed JSON means there.
    return null;
  }
  return isObject(value) ? value : null;
}
