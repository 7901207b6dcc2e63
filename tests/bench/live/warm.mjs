// Warms up a server: code that has run only a few times is slow, above all JavaScript, and
// writes at a constant rate would not warm it up in time.
import { busy } from './posts.mjs';
import { watch } from './watch.mjs';

/** The channel of the warm-up. */
const CHANNEL = busy(0);

/**
 * Sends writes of one writer without pause, each with a frame to a subscriber, before the
 * measurements.
 *
 * @param {{ database: Database, generator: string }} bench
 * @param {typeof import('./contestants.mjs').CONVOY} contestant
 * @param {ServerProcess} server
 * @param {number} writes
 */
export async function warm(bench, contestant, server, writes) {
  const pace = { writes, writesPerSecond: 10_000, leaveOut: writes - 1 };
  await watch(bench, contestant, { server }, { channels: [CHANNEL], subscribersEach: 1, ...pace });
}
