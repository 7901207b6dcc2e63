// A server that has been up for a while: what runs seldom in a fresh process is
// slow in it, JavaScript above all, and nobody measures that at a steady pace.
import { busy } from './posts.mjs';
import { watch } from './watch.mjs';

/** The channel that is written and watched beforehand. */
const CHANNEL = busy(0);

/**
 * Has a server take writes as fast as one writer sends them, each shown to a
 * subscriber, before anything is measured.
 *
 * @param {{ database: Database, generator: string }} bench
 * @param {typeof import('./contestants.mjs').CONVOY} who
 * @param {ServerProcess} server
 * @param {number} writes
 */
export async function warm(bench, who, server, writes) {
  const pace = { writes, writesPerSecond: 10_000, leaveOut: writes - 1 };
  await watch(bench, who, { server }, { channels: [CHANNEL], subscribersEach: 1, ...pace });
}
