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

  async measure(bench, { sharing, own, ...pace }) {
    const maxFiles = await openFilesLimit();
    if (maxFiles < sharing.streams + 500) {
      return {
        missing: `${sharing.streams} idle streams: only ${maxFiles} files may be open (ulimit -n)`,
        verdicts: [],
        broken: [],
      };
    }
    const shared = await hold(bench, { ...sharing, ...pace });
    const alone = await hold(bench, { ...own, ...pace });
    return {
      sharing: shared,
      own: alone,
      verdicts: [
        ...judge(`${count(sharing)} idle streams`, shared),
        ...judge(`${count(own)} idle streams with own queries`, alone),
      ],
      broken: [...shared.broken, ...alone.broken],
    };
  },
};

const count = ({ streams }) => streams.toLocaleString('en-US');

function judge(what, { bytesEach, cpuShare, idleMs }) {
  return [
    atMost(`${what}: resident memory each`, bytesEach / 1024, 16, 'KiB'),
    atMost(`${what}: CPU over ${idleMs / 1000} s, of a core`, cpuShare, 3, '%'),
  ];
}

/** Holds streams of a server of their own, as many of each channel. */
async function hold(bench, { streams, channels, restMs, idleMs }) {
  const server = await bench.startServer(CONVOY);
  const names = Array.from({ length: channels }, (_, n) => busy(n));
  // Warms up the functions, so that only the memory of streams is measured.
  for (const channel of names) await resultOf(server, 'posts.newest', { channel });
  const before = await server.memory();
  const expected = streams / channels;
  const opened = await bench.use(
    OpenStreams.open(bench.generator, server, names.map(CONVOY.stream), { copies: expected }),
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
  const { events } = await opened.end({ expected });
  await server.stop();
  const sentence = `idle streams: a write affected ${expected} of them, and there were ${events} events in total`;
  return {
    streams,
    channels,
    idleMs,
    bytesEach,
    cpuShare: (cpu / micros) * 100,
    broken: events === expected ? [] : [sentence],
  };
}

/** The hard limit of open files for a process, up to which it may raise its limit; infinite if unknown. */
async function openFilesLimit() {
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(text);
  return hard === null ? Number.POSITIVE_INFINITY : Number(hard[1]);
}
