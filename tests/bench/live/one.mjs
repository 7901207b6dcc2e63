// Measures many subscribers of one channel, each of which receives the whole result, beside
// the floor, which only writes the same bytes to as many streams.
import { atMost } from '../targets.mjs';
import { CONVOY, FLOOR, TOPICS } from './contestants.mjs';
import { inMs } from './each.mjs';
import { FloorProcess } from './floor.mjs';
import { busy } from './posts.mjs';
import { warm } from './warm.mjs';
import { brokenFrames, brokenRuns, watch } from './watch.mjs';

export const one = {
  name: 'live-one',
  title: 'many subscribers on one channel',

  async measure(bench, { subscribers, warmWrites, ...pace }) {
    const channels = [busy(0)];
    const all = { channels, subscribersEach: subscribers, ...pace };
    const server = await bench.startServer(CONVOY);
    const byHand = await bench.startServer(TOPICS);
    await warm(bench, CONVOY, server, warmWrites);
    await warm(bench, TOPICS, byHand, warmWrites);
    const ours = await watch(bench, CONVOY, { server }, all);
    const floor = await bench.use(FloorProcess.start(bench.generator, partsAround(ours.lastEvent)));
    const bare = await watch(bench, FLOOR, { server: floor }, all);
    const theirs = await watch(bench, TOPICS, { server: byHand }, all);
    const where = `${subscribers} on one channel`;
    return {
      watched: [ours, bare, theirs].map((run) => ({ where, ...run })),
      frameBytes: Buffer.byteLength(ours.lastEvent),
      verdicts: judgeOne(where, ours),
      broken: [...brokenRuns(where, ours), ...(await brokenFrames(where, ours, { server, channel: channels[0] }))],
    };
  },
};

function judgeOne(where, { afterSending, serverCpu, queryRunsPerWrite }) {
  return [
    atMost(`${where}: sending the write → the frame, p50`, afterSending.p50 / 1000, 14, 'ms'),
    atMost(`${where}: sending the write → the frame, p99`, afterSending.p99 / 1000, 35, 'ms'),
    atMost(`${where}: server CPU per write`, inMs(serverCpu), 15, 'ms'),
    atMost(`${where}: query runs per write`, queryRunsPerWrite, 1, ''),
  ];
}

/** Splits a frame of Convoy into the parts around the texts of writes. */
function partsAround(event) {
  return event.split(/run \d+, \d+\./);
}
