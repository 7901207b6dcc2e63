// Streams on which nothing happens: what they hold, and what keeping them costs.
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { atMost } from '../targets.mjs';
import { CONVOY } from './contestants.mjs';
import { Held } from './held.mjs';
import { busy } from './posts.mjs';
import { answerOf } from './watch.mjs';

export const idle = {
  name: 'live-idle',
  title: 'idle streams',

  async measure(bench, { streams, channels, restMs, idleMs }) {
    const allowed = await openFilesAllowed();
    if (allowed < streams + 500) {
      return {
        missing: `${streams} idle streams: only ${allowed} files may be open (ulimit -n)`,
        verdicts: [],
        broken: [],
      };
    }
    const server = await bench.begin(CONVOY);
    const names = Array.from({ length: channels }, (_, n) => busy(n));
    // Its functions have run before, so that what is counted are streams.
    for (const channel of names) await answerOf(server, 'posts.newest', { channel });
    const before = await server.memory();
    const held = await bench.keep(
      Held.open(bench.generator, server, names.map(CONVOY.stream), { copies: streams / channels }),
    );
    await sleep(restMs);
    const cpuBefore = await server.cpu();
    const began = performance.now();
    await sleep(idleMs);
    const cpu = (await server.cpu()) - cpuBefore;
    const micros = (performance.now() - began) * 1000;
    const bytesEach = ((await server.memory()) - before) / streams;

    // They are not only open: whom the next write concerns hears of it.
    const [opening, end] = CONVOY.write(names[0]);
    await fetch(`http://${server.address}${CONVOY.writePath}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: `${opening}after the rest${end}`,
    });
    const expected = streams / channels;
    const { events } = await held.end({ expected });
    const share = (cpu / micros) * 100;
    const count = streams.toLocaleString('en-US');
    return {
      streams,
      bytesEach,
      cpuShare: share,
      verdicts: [
        atMost(`${count} idle streams: resident memory each`, bytesEach / 1024, 16, 'KiB'),
        atMost(`${count} idle streams: CPU over ${idleMs / 1000} s, of a core`, share, 3, '%'),
      ],
      broken:
        events === expected
          ? []
          : [`idle streams: a write concerned ${expected} of them, and ${events} events came before and after it`],
    };
  },
};

/** Of one process, as it may raise it itself; without end where that is not known. */
async function openFilesAllowed() {
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(text);
  return hard === null ? Number.POSITIVE_INFINITY : Number(hard[1]);
}
