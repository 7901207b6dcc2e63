// Retries a SERIALIZABLE transaction after conflicts.
import { setTimeout as sleep } from 'node:timers/promises';

/** The time limit for the attempts of one call. */
const TIMEOUT_MS = 3_000;
/** The bounds of the exponential backoff, which has jitter. */
const MIN_DELAY_MS = 2;
const MAX_DELAY_MS = 100;

const SERIALIZATION_FAILURE = '40001';
const DEADLOCK = '40P01';

/**
 * Retries after serialization failures and deadlocks, without a connection during the delay.
 * Fails with a 409 after the time limit.
 *
 * @template T
 * @param {() => Promise<T>} attempt one transaction, rolled back where it throws
 */
export async function retryConflicts(attempt) {
  const deadline = performance.now() + TIMEOUT_MS;
  for (let conflicts = 0; ; conflicts += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (error.code !== SERIALIZATION_FAILURE && error.code !== DEADLOCK) throw error;
      if (performance.now() > deadline) throw Object.assign(error, { statusCode: 409 });
      await sleep(Math.random() * Math.min(MAX_DELAY_MS, MIN_DELAY_MS * 2 ** conflicts));
    }
  }
}
