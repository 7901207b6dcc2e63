/** What the engine says of a database that it cannot use, found in an error. */
import { isConvoyError } from '../../values/errors.js';

export interface DatabaseFault {
  readonly message: string;
  /** Which one: `wrong-url`, `wrong-password`, `no-right`, …. */
  readonly kind: string;
  /** It may be over by itself. */
  readonly passes: boolean;
}

/** `null` where the error is about something else. */
export function databaseFault(error: unknown): DatabaseFault | null {
  if (!isConvoyError(error)) return null;
  const details = error.details as {
    readonly database?: { readonly fault?: unknown; readonly passes?: unknown };
  } | null;
  const { fault, passes } = details?.database ?? {};
  return typeof fault === 'string' ? { message: error.message, kind: fault, passes: passes === true } : null;
}
