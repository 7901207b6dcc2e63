// Writers as fast as they are answered, with live queries that every write
// concerns and without: what being watched costs those who write.
import { isDeepStrictEqual } from 'node:util';
import { runLoad } from '../load.mjs';
import { medianRun } from '../requests.mjs';
import { atLeast, atMost } from '../targets.mjs';
import { CONVOY } from './contestants.mjs';
import { busy } from './posts.mjs';
import { answerOf, dataOf, freshMarker } from './watch.mjs';

/** Calls that tell what a run of the query costs. */
const CALLS = 500;

export const crowd = {
  name: 'live-crowd',
  title: 'writers as fast as they are answered, watched and not',

  async measure(bench, { rounds, ...pace }) {
    const server = await bench.begin(CONVOY);
    const runCpu = await cpuOfARun(bench, server);
    const watched = [];
    const alone = [];
    for (let round = 0; round < rounds; round += 1) {
      alone.push(await writeAll(bench, server, { ...pace, subscribers: 0 }));
      watched.push(await writeAll(bench, server, pace));
    }
    const [ours, base] = [medianRun(watched), medianRun(alone)];
    const ratio = ours.perSecond / base.perSecond;
    const reruns = { ...ours, runCpu, share: (ours.queryRuns * runCpu) / ours.serverCpuTotal };
    const where = `${pace.writers} writers, ${pace.subscribers} subscribers of one query`;
    return {
      watched: [],
      crowd: { where, watched: reruns, alone: base, ratio, runs: { watched, alone } },
      verdicts: [
        atLeast(`${where}: inserts against those with live queries off`, ratio * 100, 85, '%'),
        atMost(`${where}: CPU of our process that re-runs take`, reruns.share * 100, 10, '%'),
      ],
      broken: watched.flatMap((run) => run.broken.map((sentence) => `${where}: ${sentence}`)),
    };
  },
};

async function writeAll({ database, generator }, server, pace) {
  const plan = {
    address: server.address,
    stream: { path: '/api/subscribe?name=posts.latest&args=%7B%7D' },
    marker: freshMarker(),
    writePath: CONVOY.writePath,
    write: CONVOY.write(busy(0)),
    ...pace,
  };
  const read = {};
  const measured = await runLoad(generator, { crowd: plan }, async (word) => {
    read[word] = { server: await server.cpu(), postgres: await database.cpu(), stats: await server.stats() };
  });
  const { subscribed: from, written: to } = read;
  const each = (micros) => micros / measured.written;
  const broken = [];
  if (measured.behind > 0) broken.push(`${measured.behind} subscribers ended at another frame than the first`);
  if (
    pace.subscribers > 0 &&
    !isDeepStrictEqual(dataOf(measured.lastEvent), await answerOf(server, 'posts.latest', {}))
  ) {
    broken.push('what subscribers were sent last is not what a query answers');
  }
  return {
    ...measured,
    // Each insert is one run of its mutation.
    queryRuns: to.stats.handlerRuns - from.stats.handlerRuns - measured.written,
    serverCpuTotal: to.server - from.server,
    serverCpu: each(to.server - from.server),
    postgresCpu: to.postgres === null ? null : each(to.postgres - from.postgres),
    generatorCpu: measured.ownCpu === null ? null : each(measured.ownCpu),
    broken,
  };
}

/**
 * What the server spends on one call of the query when nobody watches it: a run
 * of its function, and more than that, since it is asked for and answered over HTTP.
 */
async function cpuOfARun({ generator }, server) {
  const plan = {
    address: server.address,
    path: '/api/query/posts.latest',
    bodies: { inTurn: ['{}'] },
    connections: 4,
    length: { calls: CALLS },
  };
  await runLoad(generator, { requests: plan }, async () => undefined);
  const before = await server.cpu();
  await runLoad(generator, { requests: plan }, async () => undefined);
  return ((await server.cpu()) - before) / CALLS;
}
