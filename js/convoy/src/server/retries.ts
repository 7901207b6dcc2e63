/** Retries transactions that Postgres aborted for a conflict (serialization failure or deadlock). */

import { ConvoyError, isConvoyError } from '../values/errors.js';

/** Retries after the first attempt. */
export const RETRIES = 4;
/** The upper bound of the first delay; it doubles each time. */
const BACKOFF_MS = 5;

/** Whether `error` is a conflict with another write that a retry may resolve. */
export function isConflict(error: unknown): error is ConvoyError {
  if (!isConvoyError(error) || error.code !== 'CONFLICT') return false;
  return (error.details as { readonly retry?: unknown } | undefined)?.retry === true;
}

/** Runs `attempt`, again while it fails with a conflict; throws `CONFLICT` after the last retry. */
export async function retryOnConflict<T>(attempt: () => Promise<T>): Promise<T> {
  for (let conflicts = 0; ; conflicts++) {
    try {
      return await attempt();
    } catch (error) {
      if (!isConflict(error)) throw error;
      if (conflicts === RETRIES) {
        const message = 'This transaction kept conflicting with other writes; try again.';
        throw new ConvoyError('CONFLICT', message, { cause: error });
      }
      // Exponential backoff with full jitter, so that transactions in conflict do not retry at the same time.
      const maxDelay = BACKOFF_MS << conflicts;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * maxDelay));
    }
  }
}
