// Measures writes beside live queries that no write affects. The curve shows their cost.
import { atMost } from '../targets.mjs';
import { CONVOY, session } from './contestants.mjs';
import { inMs } from './each.mjs';
import { OpenStreams } from './open-streams.mjs';
import { busy, quiet } from './posts.mjs';
import { brokenFrames, brokenRuns, watch } from './watch.mjs';

/** The number of live queries per session, of which at most 256 are allowed. */
const QUERIES_PER_SESSION = 250;

export const beside = {
  name: 'live-beside',
  title: 'beside live queries that no write affects',

  async measure(bench, { levels, each, one }) {
    const server = await bench.startServer(CONVOY);
    const channels = Array.from({ length: each.subscribers }, (_, n) => busy(n));
    const onEach = () => watch(bench, CONVOY, { server }, { ...each.pace, channels, subscribersEach: 1 });
    const onOne = () =>
      watch(bench, CONVOY, { server }, { ...one.pace, channels: [busy(0)], subscribersEach: one.subscribers });
    // Not recorded: the first run is slower than those that follow.
    await onEach();

    const watched = [];
    const broken = [];
    const curve = [];
    const ends = [];
    const opened = [];
    for (const [index, level] of levels.entries()) {
      if (level > 0) opened.push(await bench.use(openQueries(bench, server, levels[index - 1], level)));
      const where = `${each.subscribers} on ${each.subscribers} channels beside ${level} live queries`;
      const run = await onEach();
      watched.push({ where, ...run });
      curve.push({ queries: level, delay: run.afterSending.p50, serverCpu: run.serverCpu });
      broken.push(...brokenRuns(where, run), ...(await brokenFrames(where, run, { server, channel: busy(0) })));
      if (index > 0 && index < levels.length - 1) continue;
      const crowd = await onOne();
      const whereAll = `${one.subscribers} on one channel beside ${level} live queries`;
      watched.push({ where: whereAll, ...crowd });
      broken.push(
        ...brokenRuns(whereAll, crowd),
        ...(await brokenFrames(whereAll, crowd, { server, channel: busy(0) })),
      );
      ends.push({ run, crowd });
    }
    for (const streams of opened) {
      const { events } = await streams.end();
      if (events > 0) broken.push(`beside live queries: ${events} events on streams that no write affected`);
    }
    const [without, among] = ends;
    const maxLevel = levels.at(-1).toLocaleString('en-US');
    return {
      watched,
      curve,
      verdicts: [
        ...compare(`${each.subscribers} on ${each.subscribers} channels beside ${maxLevel}`, without.run, among.run),
        ...compare(`${one.subscribers} on one channel beside ${maxLevel}`, without.crowd, among.crowd),
      ],
      broken,
    };
  },
};

/** Opens the live queries from one level up to the next. */
function openQueries({ generator }, server, from, to) {
  const streams = [];
  for (let first = from; first < to; first += QUERIES_PER_SESSION) {
    const count = Math.min(QUERIES_PER_SESSION, to - first);
    const queries = Array.from({ length: count }, (_, n) => ({
      name: 'posts.newest',
      args: { channel: quiet(first + n) },
    }));
    streams.push(session(queries));
  }
  // Each session starts with hundreds of query runs.
  return OpenStreams.open(generator, server, streams, { atOnce: 2 });
}

function compare(where, without, among) {
  const ratio = (a, b) => (a === null || b === null ? null : a / b);
  return [
    atMost(`${where}: p50 against without`, among.afterSending.p50 / without.afterSending.p50, 1.2, '×'),
    atMost(`${where}: p99 against without`, among.afterSending.p99 / without.afterSending.p99, 1.2, '×'),
    atMost(`${where}: CPU per write against without`, ratio(inMs(among.serverCpu), inMs(without.serverCpu)), 1.2, '×'),
  ];
}
