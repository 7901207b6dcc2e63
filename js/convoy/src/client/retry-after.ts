/** When a call or subscription may be tried again that a rate limit of the server has refused. */
import { isConvoyError } from '../values/errors.js';

/** The longest delay that a timer takes. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** The milliseconds until then; `null` for other errors, and for limits of functions that do not tell. */
export function retryAfterMs(error: unknown): number | null {
  if (!isConvoyError(error) || error.code !== 'RATE_LIMITED') return null;
  const ms = (error.details as { readonly retryAfterMs?: unknown } | undefined)?.retryAfterMs;
  return typeof ms === 'number' && ms >= 0 ? Math.min(ms, MAX_DELAY_MS) : null;
}
