// Measures two nodes over one database: one receives the writes, the other has the subscribers.
import { atMost } from '../targets.mjs';
import { CONVOY } from './contestants.mjs';
import { busy } from './posts.mjs';
import { brokenFrames, watch } from './watch.mjs';

export const nodes = {
  name: 'live-nodes',
  title: 'two nodes: writes on one, subscribers on the other',

  async measure(bench, { subscribers, ...pace }) {
    const server = await bench.startServer(CONVOY);
    const writeTo = await bench.startServer(CONVOY);
    const channels = Array.from({ length: subscribers }, (_, n) => busy(n));
    const run = await watch(bench, CONVOY, { server, writeTo }, { channels, subscribersEach: 1, ...pace });
    const where = `two nodes, ${subscribers} on ${subscribers} channels`;
    return {
      watched: [{ where, ...run }],
      verdicts: [
        atMost(`${where}: sending the write → the frame, p50`, run.afterSending.p50 / 1000, 15, 'ms'),
        atMost(`${where}: query runs per write`, run.queryRunsPerWrite, 1, ''),
      ],
      broken: await brokenFrames(where, run, { server, channel: channels[0] }),
    };
  },
};
