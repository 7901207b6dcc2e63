// What one writes around a SERIALIZABLE transaction: again while others win.
import { setTimeout as sleep } from 'node:timers/promises';

/** How long one call tries. */
const LONGEST_MS = 3_000;
/** Pauses are random and grow from the first to the second. */
const SHORTEST_PAUSE_MS = 2;
const LONGEST_PAUSE_MS = 100;

const SERIALIZATION_FAILURE = '40001';
const DEADLOCK = '40P01';

/**
 * Holds no connection while it pauses. Gives up with a 409.
 *
 * @template T
 * @param {() => Promise<T>} attempt one transaction, rolled back where it throws
 */
export async function whileOthersWin(attempt) {
  const until = performance.now() + LONGEST_MS;
  for (let lost = 0; ; lost += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (error.code !== SERIALIZATION_FAILURE && error.code !== DEADLOCK) throw error;
      if (performance.now() > until) throw Object.assign(error, { statusCode: 409 });
      await sleep(Math.random() * Math.min(LONGEST_PAUSE_MS, SHORTEST_PAUSE_MS * 2 ** lost));
    }
  }
}
