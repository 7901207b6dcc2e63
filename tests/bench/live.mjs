// Live queries: many subscribers of few arguments, one writer.
import { channelName } from './database.mjs';
import { runLoad } from './load.mjs';

/**
 * @param {{ convoy: ServerProcess, generator: string }} bench
 * @param {{ subscribers: number, queries: number, writes: number, writesPerSecond: number, leaveOut: number }} pace
 */
export async function measureLive({ convoy, generator }, { subscribers, queries, ...pace }) {
  const streams = Array.from({ length: queries }, (_, n) => {
    const args = encodeURIComponent(JSON.stringify({ channel: channelName(n) }));
    return `/api/subscribe?name=messages.newest&args=${args}`;
  });
  const writes = Array.from({ length: pace.writes }, (_, n) => {
    const stream = n % queries;
    const marker = `write ${n}.`;
    return { stream, marker, body: JSON.stringify({ channel: channelName(stream), author: 'writer', text: marker }) };
  });
  const plan = {
    address: convoy.address,
    streams,
    subscribersEach: subscribers / queries,
    writePath: '/api/mutation/messages.send',
    writes,
    writesPerSecond: pace.writesPerSecond,
    leaveOut: pace.leaveOut,
  };
  let before;
  const measured = await runLoad(generator, { live: plan }, async () => {
    before = await convoy.stats();
  });
  const after = await convoy.stats();
  const runs = after.handlerRuns - before.handlerRuns;
  return {
    ...measured,
    queries: before.liveQueries,
    // Every write is one run of its mutation; the rest are live queries.
    queryRuns: runs - writes.length,
    queryRunsPerWrite: (runs - writes.length) / writes.length,
  };
}

/**
 * What must hold whatever the machine: each write re-runs the one query it
 * concerns, its subscribers see it, and nobody else hears of it.
 */
export function brokenInvariants(live, { subscribers, queries }) {
  const broken = [];
  if (live.subscribers !== subscribers || live.queries !== queries) {
    broken.push(`${live.subscribers} subscribers watch ${live.queries} queries, not ${subscribers} watch ${queries}`);
  }
  if (live.queryRuns !== live.writes) {
    broken.push(`${live.writes} writes re-ran queries ${live.queryRuns} times; each concerns one query`);
  }
  if (live.missing !== 0) broken.push(`${live.missing} of ${live.expected} frames never came`);
  if (live.wasted !== 0) broken.push(`${live.wasted} frames showed nothing new`);
  return broken;
}
