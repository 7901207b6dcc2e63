/** Running again what lost to another write: SERIALIZABLE lets one of two that disagree win, and tells the other. */

import { ConvoyError, isConvoyError } from '../values/errors.js';

/** How often something that lost is run again. */
const RETRIES = 4;
/** The span of the first pause; it doubles each time. */
const PAUSE_MS = 5;

/** Whether a transaction cannot be kept because another write won, and running it again may help. */
export function isLostRace(error: unknown): error is ConvoyError {
  if (!isConvoyError(error) || error.code !== 'CONFLICT') return false;
  return (error.details as { readonly retry?: unknown } | undefined)?.retry === true;
}

/** What `attempt` gives, run again while it fails with a lost race; in the end `CONFLICT`. */
export async function untilItWins<T>(attempt: () => Promise<T>): Promise<T> {
  for (let lost = 0; ; lost++) {
    try {
      return await attempt();
    } catch (error) {
      if (!isLostRace(error)) throw error;
      if (lost === RETRIES) {
        throw new ConvoyError('CONFLICT', 'This transaction kept losing to other writes.', { cause: error });
      }
      // A random part of a growing span, so that those who lost to each other do not meet again.
      const span = PAUSE_MS << lost;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * span));
    }
  }
}
