// The same beside live queries that no write concerns: what they cost is the curve.
import { atMost } from '../targets.mjs';
import { CONVOY, session } from './contestants.mjs';
import { inMs } from './each.mjs';
import { Held } from './held.mjs';
import { busy, quiet } from './posts.mjs';
import { brokenFrames, brokenRuns, watch } from './watch.mjs';

/** Live queries of one session: at most 256 are allowed. */
const IN_SESSION = 250;

export const beside = {
  name: 'live-beside',
  title: 'beside live queries that no write concerns',

  async measure(bench, { levels, each, one }) {
    const server = await bench.begin(CONVOY);
    const channels = Array.from({ length: each.subscribers }, (_, n) => busy(n));
    const onEach = () => watch(bench, CONVOY, { server }, { ...each.pace, channels, subscribersEach: 1 });
    const onOne = () =>
      watch(bench, CONVOY, { server }, { ...one.pace, channels: [busy(0)], subscribersEach: one.subscribers });
    // Not noted: what comes first is slower than what follows.
    await onEach();

    const watched = [];
    const broken = [];
    const curve = [];
    const ends = [];
    const held = [];
    for (const [place, level] of levels.entries()) {
      if (level > 0) held.push(await bench.keep(hold(bench, server, levels[place - 1], level)));
      const where = `${each.subscribers} on ${each.subscribers} channels beside ${level} live queries`;
      const run = await onEach();
      watched.push({ where, ...run });
      curve.push({ queries: level, delay: run.afterSending.p50, serverCpu: run.serverCpu });
      broken.push(...brokenRuns(where, run), ...(await brokenFrames(where, run, { server, channel: busy(0) })));
      if (place > 0 && place < levels.length - 1) continue;
      const crowd = await onOne();
      const whereAll = `${one.subscribers} on one channel beside ${level} live queries`;
      watched.push({ where: whereAll, ...crowd });
      broken.push(
        ...brokenRuns(whereAll, crowd),
        ...(await brokenFrames(whereAll, crowd, { server, channel: busy(0) })),
      );
      ends.push({ run, crowd });
    }
    for (const each of held) {
      const { events } = await each.end();
      if (events > 0) broken.push(`beside live queries: ${events} events came to those whom no write concerned`);
    }
    const [without, among] = ends;
    const most = levels.at(-1).toLocaleString('en-US');
    return {
      watched,
      curve,
      verdicts: [
        ...compare(`${each.subscribers} on ${each.subscribers} channels beside ${most}`, without.run, among.run),
        ...compare(`${one.subscribers} on one channel beside ${most}`, without.crowd, among.crowd),
      ],
      broken,
    };
  },
};

/** Live queries up to a number, where those up to another are there already. */
function hold({ generator }, server, from, to) {
  const streams = [];
  for (let first = from; first < to; first += IN_SESSION) {
    const count = Math.min(IN_SESSION, to - first);
    const queries = Array.from({ length: count }, (_, n) => ({
      name: 'posts.newest',
      args: { channel: quiet(first + n) },
    }));
    streams.push(session(queries));
  }
  // Each session runs hundreds of queries at first.
  return Held.open(generator, server, streams, { atOnce: 2 });
}

function compare(where, without, among) {
  const ratio = (a, b) => (a === null || b === null ? null : a / b);
  return [
    atMost(`${where}: p50 against without`, among.afterSending.p50 / without.afterSending.p50, 1.2, '×'),
    atMost(`${where}: p99 against without`, among.afterSending.p99 / without.afterSending.p99, 1.2, '×'),
    atMost(`${where}: CPU per write against without`, ratio(inMs(among.serverCpu), inMs(without.serverCpu)), 1.2, '×'),
  ];
}
