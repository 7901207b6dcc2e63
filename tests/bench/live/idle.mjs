// Measures the memory and CPU time of idle streams.
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { atMost } from '../targets.mjs';
import { CONVOY } from './contestants.mjs';
import { OpenStreams } from './open-streams.mjs';
import { busy } from './posts.mjs';
import { resultOf } from './watch.mjs';

export const idle = {
  name: 'live-idle',
  title: 'idle streams',

  async measure(bench, { streams, channels, restMs, idleMs }) {
    const maxFiles = await openFilesLimit();
    if (maxFiles < streams + 500) {
      return {
        missing: `${streams} idle streams: only ${maxFiles} files may be open (ulimit -n)`,
        verdicts: [],
        broken: [],
      };
    }
    const server = await bench.startServer(CONVOY);
    const names = Array.from({ length: channels }, (_, n) => busy(n));
    // Warms up the functions, so that only the memory of streams is measured.
    for (const channel of names) await resultOf(server, 'posts.newest', { channel });
    const before = await server.memory();
    const opened = await bench.use(
      OpenStreams.open(bench.generator, server, names.map(CONVOY.stream), { copies: streams / channels }),
    );
    await sleep(restMs);
    const cpuBefore = await server.cpu();
    const began = performance.now();
    await sleep(idleMs);
    const cpu = (await server.cpu()) - cpuBefore;
    const micros = (performance.now() - began) * 1000;
    const bytesEach = ((await server.memory()) - before) / streams;

    // Verifies that the streams work: the next write must reach its subscribers.
    const [opening, end] = CONVOY.write(names[0]);
    await fetch(`http://${server.address}${CONVOY.writePath}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: `${opening}after the rest${end}`,
    });
    const expected = streams / channels;
    const { events } = await opened.end({ expected });
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
          : [`idle streams: a write affected ${expected} of them, and there were ${events} events in total`],
    };
  },
};

/** The hard limit of open files for a process, up to which it may raise its limit; infinite if unknown. */
async function openFilesLimit() {
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(text);
  return hard === null ? Number.POSITIVE_INFINITY : Number(hard[1]);
}
