/**
 * Keeps the two outcomes of an operation that are none of Better Auth's business away from it. It catches errors, logs
 * them, and answers with others, by which Convoy could not recognize them.
 */

import { isConvoyError } from '@avvos/convoy';
import type { Store } from './store.js';

/** How the engine begins the reason of a run that it has stopped, and starts again by itself. */
const STOPPED = 'This run was stopped';

/** Notes the conflict with another transaction, for which a transaction of an action has to run again. */
export class ConflictNote {
  #conflict: unknown = null;

  /** The error that the transaction fails with: the conflict, if there was one, whatever Better Auth made of it. */
  cause(error: unknown): unknown {
    return this.#conflict ?? error;
  }

  note(error: unknown): void {
    if (!isConvoyError(error) || error.code !== 'CONFLICT') return;
    if ((error.details as { readonly retry?: unknown } | undefined)?.retry === true) this.#conflict ??= error;
  }
}

/** The operations of `store`, which never settle in a run that was stopped, and note conflicts. */
export function withOutcomes(store: Store, conflicts: ConflictNote | null): Store {
  const operations = Object.entries(store).map(([name, operation]) => [
    name,
    async (input: never): Promise<unknown> => {
      try {
        return await (operation as (given: never) => Promise<unknown>)(input);
      } catch (error) {
        conflicts?.note(error);
        // Its promise stays pending, so the rest of the run is collected as garbage.
        if (isStopped(error)) return new Promise(() => {});
        throw error;
      }
    },
  ]);
  return Object.fromEntries(operations) as unknown as Store;
}

function isStopped(error: unknown): boolean {
  return isConvoyError(error) && error.code === 'UNAVAILABLE' && error.message.startsWith(STOPPED);
}
