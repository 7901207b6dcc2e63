// Two nodes over one database: what one writes, the other's subscribers see.
import { atMost } from '../targets.mjs';
import { CONVOY } from './contestants.mjs';
import { busy } from './posts.mjs';
import { brokenFrames, watch } from './watch.mjs';

export const nodes = {
  name: 'live-nodes',
  title: 'two nodes: written on one, watched on the other',

  async measure(bench, { subscribers, ...pace }) {
    const server = await bench.begin(CONVOY);
    const writeTo = await bench.begin(CONVOY);
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
