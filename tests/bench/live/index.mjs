// Live queries: the scenarios, and what runs them.
import { urlFor } from '../database.mjs';
import { Parts } from '../parts.mjs';
import { ServerProcess } from '../server-process.mjs';
import { beside } from './beside.mjs';
import { crowd } from './crowd.mjs';
import { delta } from './delta.mjs';
import { each } from './each.mjs';
import { idle } from './idle.mjs';
import { kept } from './kept.mjs';
import { nodes } from './nodes.mjs';
import { one } from './one.mjs';

export { fillPosts } from './posts.mjs';

/**
 * `measure` takes the bench and the pace of its name, and gives `verdicts`
 * (targets.mjs), `broken` promises as sentences, `watched` (watch.mjs) where
 * somebody watches a paced writer, and what else it has measured.
 */
export const SCENARIOS = [each, one, beside, idle, crowd, kept, delta, nodes];

/**
 * One after another, each with servers of its own.
 *
 * @param {{ database: Database, generator: string }} bench
 * @param {typeof SCENARIOS} scenarios
 * @param {object} pace by the scenarios' names
 * @param {(what: string) => void} say
 */
export async function measureLive(bench, scenarios, pace, say) {
  const measured = [];
  for (const { name, title, measure } of scenarios) {
    say(`live: ${title}`);
    const parts = new Parts();
    const began = performance.now();
    const begin = ({ server, schema }) => parts.begin(ServerProcess.start(server, urlFor(bench.database.url, schema)));
    try {
      const results = await measure({ ...bench, begin, keep: (part) => parts.begin(part) }, pace[name]);
      measured.push({ name, title, ...results, tookMs: Math.round(performance.now() - began) });
    } finally {
      await parts.stopAll();
    }
  }
  return measured;
}
