/**
 * Where outcomes of the engine become values and exceptions: the only place that throws what arrived as data.
 *
 * A call's outcome is an envelope, `{ok,data}` or `{ok,error}`. Anything else the engine refuses comes as a plain Error
 * whose message is a payload, because that is all N-API carries.
 */

import { ConvoyError, errorFromPayload } from '../values/errors.js';
import type { LossyAnswer } from './lossy-values.js';

interface Envelope extends LossyAnswer {
  readonly ok: boolean;
  readonly data?: unknown;
  readonly error?: unknown;
}

/** The data of an envelope, or its error, thrown. `note` is told what of the data JavaScript cannot hold. */
export function outcomeIn(envelope: string, note?: (data: unknown, lossy: LossyAnswer) => void): unknown {
  const said = JSON.parse(envelope) as Envelope;
  if (said.ok) {
    note?.(said.data, said);
    return said.data;
  }
  throw errorFromPayload(said.error);
}

/** Waits for the engine; where it refuses, the caller gets a `ConvoyError`. */
export async function unwrapEnvelope<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw toConvoyError(error);
  }
}

/** The `ConvoyError` whose payload is the message of `error`; any other error as it is. */
export function toConvoyError(error: unknown): unknown {
  try {
    if (!(error instanceof Error) || !error.message.startsWith('{')) return error;
  } catch {
    // A proxy may refuse even this question.
    return error;
  }
  try {
    return errorFromPayload(JSON.parse(error.message));
  } catch (notJson) {
    return new ConvoyError('INTERNAL', error.message, { cause: notJson });
  }
}
