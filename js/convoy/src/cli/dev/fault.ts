/** Extracts the database fault that the engine attaches to an error. */
import { isConvoyError } from '../../values/errors.js';

export interface DatabaseFault {
  readonly message: string;
  /** `wrong-url`, `wrong-password`, `no-right`, …. */
  readonly kind: string;
  /** The fault may pass without a change by the user. */
  readonly passes: boolean;
}

/** The fault in an error of the engine, or `null` if the error has another cause. */
export function databaseFault(error: unknown): DatabaseFault | null {
  if (!isConvoyError(error)) return null;
  const details = error.details as {
    readonly database?: { readonly fault?: unknown; readonly passes?: unknown };
  } | null;
  const { fault, passes } = details?.database ?? {};
  return typeof fault === 'string' ? { message: error.message, kind: fault, passes: passes === true } : null;
}
