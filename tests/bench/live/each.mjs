// Measures one subscriber per channel: the cost of a write for its subscriber, and for all others.
import { atMost } from '../targets.mjs';
import { CONVOY, TOPICS } from './contestants.mjs';
import { busy } from './posts.mjs';
import { warm } from './warm.mjs';
import { brokenFrames, brokenRuns, watch } from './watch.mjs';

export const each = {
  name: 'live-each',
  title: 'one subscriber on each of many channels',

  async measure(bench, { sizes, warmWrites, ...pace }) {
    const server = await bench.startServer(CONVOY);
    const byHand = await bench.startServer(TOPICS);
    await warm(bench, CONVOY, server, warmWrites);
    await warm(bench, TOPICS, byHand, warmWrites);
    const watched = [];
    const verdicts = [];
    const broken = [];
    for (const size of sizes) {
      const channels = Array.from({ length: size }, (_, n) => busy(n));
      const ours = await watch(bench, CONVOY, { server }, { channels, subscribersEach: 1, ...pace });
      const theirs = await watch(bench, TOPICS, { server: byHand }, { channels, subscribersEach: 1, ...pace });
      const where = `${size} on ${size} channels`;
      watched.push({ where, ...ours }, { where, ...theirs });
      verdicts.push(...judgeEach(where, ours));
      broken.push(...brokenRuns(where, ours), ...(await brokenFrames(where, ours, { server, channel: channels[0] })));
    }
    return { watched, verdicts, broken };
  },
};

function judgeEach(where, { afterAnswer, afterSending, serverCpu, queryRunsPerWrite, wasted }) {
  return [
    atMost(`${where}: the writer’s response → the frame, p50`, afterAnswer.p50 / 1000, 1, 'ms'),
    atMost(`${where}: the writer’s response → the frame, p99`, afterAnswer.p99 / 1000, 5, 'ms'),
    atMost(`${where}: sending the write → the frame, p50`, afterSending.p50 / 1000, 5, 'ms'),
    atMost(`${where}: server CPU per write`, inMs(serverCpu), 1, 'ms'),
    atMost(`${where}: query runs per write`, queryRunsPerWrite, 1, ''),
    atMost(`${where}: frames without a change`, wasted, 0, ''),
  ];
}

/** Converts microseconds to milliseconds; `null` if unknown. */
export const inMs = (micros) => (micros === null ? null : micros / 1000);
