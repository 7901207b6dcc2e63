/**
 * The errors of this package. No message contains a credential; the cause, which may describe it further, stays in the
 * log of the server.
 */

import { ConvoyError } from '@avvos/convoy';

/** Credentials that are there and do not hold. */
export function unauthorized(message: string, cause?: unknown): ConvoyError {
  return new ConvoyError('UNAUTHORIZED', message, { cause });
}

/** Credentials that cannot be checked at present. */
export function unavailable(message: string, cause?: unknown): ConvoyError {
  return new ConvoyError('UNAVAILABLE', message, { cause });
}
