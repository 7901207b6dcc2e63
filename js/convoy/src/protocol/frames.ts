/**
 * What travels from the server to a client, and the one place where its text becomes these types: the answer of a
 * call (`POST /api/<kind>/<name>`) and the frames of a subscription (`GET /api/subscribe`).
 *
 * Reading is strict about what we rely on and silent about the rest, so that a newer server may say more.
 */
import type { ConvoyErrorPayload } from '../values/errors.js';

/** The body of every answered call. */
export type CallAnswer =
  | { readonly ok: true; readonly data: unknown }
  | { readonly ok: false; readonly error: ConvoyErrorPayload };

/** A new result of the query. Its `id:` line carries the result's hash. */
export interface ResultFrame {
  readonly type: 'result';
  readonly name: string;
  /** When the server sent it, in milliseconds since 1970 by its own clock. */
  readonly ts: number;
  readonly data: unknown;
}

/** The query has no result now; `UNAVAILABLE` passes by itself, every other code is about the query. */
export interface ErrorFrame {
  readonly type: 'error';
  readonly name: string;
  readonly ts: number;
  readonly error: ConvoyErrorPayload;
}

export type SubscriptionFrame = ResultFrame | ErrorFrame;

/**
 * The comment by which a stream says that the result named in `Last-Event-ID` is still the answer. Other comments
 * (a greeting, heartbeats) only show that the connection lives.
 */
export const CURRENT_COMMENT = 'current';

/** The answer in `text`, or `null` where something else answered (a proxy's page, say). */
export function parseAnswer(text: string): CallAnswer | null {
  const said = parseObject(text);
  if (said?.ok === true) return { ok: true, data: said.data ?? null };
  if (said?.ok === false && isPayload(said.error)) return { ok: false, error: said.error };
  return null;
}

/** The frame in `text`, or `null` where it is none of ours: a kind this version does not know, or damaged. */
export function parseFrame(text: string): SubscriptionFrame | null {
  const said = parseObject(text);
  if (said === null || typeof said.name !== 'string') return null;
  const ts = typeof said.ts === 'number' ? said.ts : 0;
  if (said.type === 'result') return { type: 'result', name: said.name, ts, data: said.data ?? null };
  if (said.type === 'error' && isPayload(said.error)) return { type: 'error', name: said.name, ts, error: said.error };
  return null;
}

function parseObject(text: string): Record<string, unknown> | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Not JSON is one of the answers this function gives: the caller says who spoke and what it means there.
    return null;
  }
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
}

/** Codes are checked by `errorFromPayload`, which reads one it does not know as `INTERNAL`. */
function isPayload(value: unknown): value is ConvoyErrorPayload {
  return typeof value === 'object' && value !== null && 'code' in value;
}
