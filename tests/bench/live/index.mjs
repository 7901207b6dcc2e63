// The scenarios for live queries, and their runner.
import { urlFor } from '../database.mjs';
import { Resources } from '../resources.mjs';
import { ServerProcess } from '../server-process.mjs';
import { beside } from './beside.mjs';
import { cached } from './cached.mjs';
import { crowd } from './crowd.mjs';
import { delta } from './delta.mjs';
import { each } from './each.mjs';
import { idle } from './idle.mjs';
import { nodes } from './nodes.mjs';
import { one } from './one.mjs';

export { fillPosts } from './posts.mjs';

/**
 * `measure` takes the bench and the pace of its scenario, and returns `verdicts`
 * (targets.mjs), violated invariants as sentences in `broken`, `watched` (watch.mjs) for
 * runs with a writer at a constant rate, and scenario-specific results.
 */
export const SCENARIOS = [each, one, beside, idle, crowd, cached, delta, nodes];

/**
 * Runs the scenarios sequentially, each with separate servers.
 *
 * @param {{ database: Database, generator: string }} bench
 * @param {typeof SCENARIOS} scenarios
 * @param {object} pace by the scenarios' names
 * @param {(message: string) => void} log
 */
export async function measureLive(bench, scenarios, pace, log) {
  const measured = [];
  for (const { name, title, measure } of scenarios) {
    log(`live: ${title}`);
    const resources = new Resources();
    const began = performance.now();
    const startServer = ({ server, schema }) =>
      resources.add(ServerProcess.start(server, urlFor(bench.database.url, schema)));
    const use = (starting) => resources.add(starting);
    try {
      const results = await measure({ ...bench, startServer, use }, pace[name]);
      measured.push({ name, title, ...results, tookMs: Math.round(performance.now() - began) });
    } finally {
      await resources.stopAll();
    }
  }
  return measured;
}
