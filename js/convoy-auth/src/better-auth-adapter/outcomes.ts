/**
 * Keeps the two outcomes of an operation that are none of Better Auth's business away from it: that the run was stopped,
 * and that a transaction has to run again. It would catch these errors, log them, and fail with others, by which Convoy
 * could not recognize them. The operation never settles instead, so that the rest of the run is collected as garbage.
 */

import { isConvoyError } from '@avvos/convoy';

/** How the engine begins the reason of a run that it has stopped, and starts again by itself. */
const STOPPED = 'This run was stopped';

/** The conflict of a transaction with another one, for which it has to run again. */
export class Conflict {
  /** Rejected with the first conflict. */
  readonly occurred: Promise<never>;
  readonly fail: (error: unknown) => void;

  constructor() {
    let fail: (error: unknown) => void = () => {};
    this.occurred = new Promise((_, reject) => {
      fail = reject;
    });
    this.fail = fail;
  }
}

/** The result of an operation; one of a transaction reports its conflict to `conflict`. */
export async function withOutcome<Result>(
  operation: () => Promise<Result>,
  conflict: Conflict | null,
): Promise<Result> {
  try {
    return await operation();
  } catch (error) {
    if (isStopped(error)) return never();
    if (conflict === null || !isConflict(error)) throw error;
    conflict.fail(error);
    return never();
  }
}

function never(): Promise<never> {
  return new Promise(() => {});
}

function isStopped(error: unknown): boolean {
  return isConvoyError(error) && error.code === 'UNAVAILABLE' && error.message.startsWith(STOPPED);
}

function isConflict(error: unknown): boolean {
  if (!isConvoyError(error) || error.code !== 'CONFLICT') return false;
  return (error.details as { readonly retry?: unknown } | undefined)?.retry === true;
}
