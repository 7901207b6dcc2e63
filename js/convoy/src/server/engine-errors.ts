/**
 * Turns results of the engine into values and exceptions: the only file that throws errors received as data.
 *
 * A call returns an envelope, `{ok,data}` or `{ok,error}`. Every other method of the engine rejects with a plain `Error`
 * whose message is a JSON payload, because N-API passes no other members.
 */

import { ConvoyError, errorFromPayload } from '../values/errors.js';
import type { LossyAnswer } from './lossy-values.js';

interface Envelope extends LossyAnswer {
  readonly ok: boolean;
  readonly data?: unknown;
  readonly error?: unknown;
}

/** Returns the data of an envelope, or throws its error. `note` receives the lossy values of the data. */
export function unwrapEnvelope(json: string, note?: (data: unknown, lossy: LossyAnswer) => void): unknown {
  const envelope = JSON.parse(json) as Envelope;
  if (envelope.ok) {
    note?.(envelope.data, envelope);
    return envelope.data;
  }
  throw errorFromPayload(envelope.error);
}

/** Awaits a promise of the engine; a rejection is rethrown as a `ConvoyError`. */
export async function rethrowAsConvoyError<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw toConvoyError(error);
  }
}

/** The `ConvoyError` whose payload is the message of `error`; any other error unchanged. */
export function toConvoyError(error: unknown): unknown {
  try {
    if (!(error instanceof Error) || !error.message.startsWith('{')) return error;
  } catch {
    // The error may be a proxy whose traps throw.
    return error;
  }
  try {
    return errorFromPayload(JSON.parse(error.message));
  } catch (notJson) {
    return new ConvoyError('INTERNAL', error.message, { cause: notJson });
  }
}
