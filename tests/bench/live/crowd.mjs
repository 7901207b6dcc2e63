// Measures the cost of subscriptions for writers: concurrent writers without think time,
// with live queries that every write affects and without.
import { isDeepStrictEqual } from 'node:util';
import { runLoad } from '../load.mjs';
import { medianRun } from '../requests.mjs';
import { atLeast, atMost } from '../targets.mjs';
import { CONVOY } from './contestants.mjs';
import { busy } from './posts.mjs';
import { dataOf, freshMarker, resultOf } from './watch.mjs';

/** The number of calls to measure the cost of a query run. */
const CALLS = 500;

export const crowd = {
  name: 'live-crowd',
  title: 'concurrent writers, with and without subscribers',

  async measure(bench, { rounds, ...pace }) {
    const server = await bench.startServer(CONVOY);
    const runCpu = await cpuPerRun(bench, server);
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
        atLeast(`${where}: inserts, of those without live queries`, ratio * 100, 85, '%'),
        atMost(`${where}: share of re-runs in the server CPU`, reruns.share * 100, 10, '%'),
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
  const measured = await runLoad(generator, { crowd: plan }, async (phase) => {
    read[phase] = { server: await server.cpu(), postgres: await database.cpu(), stats: await server.stats() };
  });
  const { subscribed: from, written: to } = read;
  const perWrite = (micros) => micros / measured.written;
  const broken = [];
  if (measured.behind > 0) broken.push(`${measured.behind} subscribers did not end at the same frame as the first`);
  if (
    pace.subscribers > 0 &&
    !isDeepStrictEqual(dataOf(measured.lastEvent), await resultOf(server, 'posts.latest', {}))
  ) {
    broken.push('the last frame differs from the result of a query');
  }
  return {
    ...measured,
    // Each insert is one run of its mutation.
    queryRuns: to.stats.handlerRuns - from.stats.handlerRuns - measured.written,
    serverCpuTotal: to.server - from.server,
    serverCpu: perWrite(to.server - from.server),
    postgresCpu: to.postgres === null ? null : perWrite(to.postgres - from.postgres),
    generatorCpu: measured.ownCpu === null ? null : perWrite(measured.ownCpu),
    broken,
  };
}

/**
 * The CPU time of one call of the query without subscribers: an upper bound for a run of
 * its function, since the call includes an HTTP request.
 */
async function cpuPerRun({ generator }, server) {
  const plan = {
    address: server.address,
    calls: [{ path: '/api/query/posts.latest', bodies: { inTurn: ['{}'] } }],
    connections: 4,
    length: { calls: CALLS },
  };
  await runLoad(generator, { requests: plan }, async () => undefined);
  const before = await server.cpu();
  await runLoad(generator, { requests: plan }, async () => undefined);
  return ((await server.cpu()) - before) / CALLS;
}
