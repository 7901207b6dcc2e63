/** Extracts the database fault that the engine attaches to an error. */
import { isConvoyError } from '../../values/errors.js';

export interface DatabaseFault {
  /** The message: what happened, why, and what to do about it. */
  readonly message: string;
  /** The first part of the message. */
  readonly what: string;
  /** The last part of the message: a statement, a command or a setting. `null` where it is not separate. */
  readonly remedy: string | null;
  /** `wrong-url`, `wrong-password`, `no-right`, …. */
  readonly kind: string;
  /** The fault may pass without a change by the user. */
  readonly passes: boolean;
}

/** The fault in an error of the engine, or `null` if the error has another cause. */
export function databaseFault(error: unknown): DatabaseFault | null {
  if (!isConvoyError(error)) return null;
  const details = error.details as {
    readonly database?: { readonly fault?: unknown; readonly passes?: unknown; readonly remedy?: unknown };
  } | null;
  const { fault, passes, remedy } = details?.database ?? {};
  if (typeof fault !== 'string') return null;
  const { message } = error;
  // A remedy that ends in a statement or a command ends the message without a period.
  const end = [`; ${remedy}.`, `; ${remedy}`].find((end) => message.endsWith(end));
  const parts =
    typeof remedy === 'string' && end !== undefined
      ? { what: message.slice(0, -end.length), remedy }
      : { what: message, remedy: null };
  return { message, ...parts, kind: fault, passes: passes === true };
}

/** The error for a person at a terminal, with what to do on a line of its own. */
export function describeError(error: unknown): string {
  const fault = databaseFault(error);
  if (fault !== null && fault.remedy !== null) return `${fault.what}\n  → ${fault.remedy}`;
  return error instanceof Error ? error.message : String(error);
}
