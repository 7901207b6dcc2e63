// Measures what readers that are slow, or catch up, cost others: writers and callers of each
// workload, and the way of a write to an active reader, with 1,000 such readers and without.
// Each channel has an active reader in any case, so its query runs anyway. The buffers of slow readers
// are filled before each measurement; until then they cost as much as quick ones. All share the
// machine, so the ratios contain the processor time of the readers themselves.
//
//   node tests/bench/interference.mjs --generator <path> --results <path> [--only <regex>] [--rounds <number>]
//
// `npm run bench -- --interference` builds the dependencies.
import { randomUUID } from 'node:crypto';
import { CONVOY } from './contestants.mjs';
import { CHANNELS, channelName, Database, urlFor } from './database.mjs';
import { brokenAnswers, withInvariants } from './invariants.mjs';
import { FULL } from './pace.mjs';
import { openActive, openReturning, openSlow } from './readers.mjs';
import { measure } from './requests.mjs';
import { Resources } from './resources.mjs';
import { ServerProcess } from './server-process.mjs';
import { compared, inTurns, optionsOf, report } from './sets.mjs';
import { WORKLOADS } from './workloads.mjs';

const READERS = 1_000;
/** Writes to each channel before a measurement: first large ones, then as many small ones as a list has. */
const FILL = [
  { writes: 90, text: 'x'.repeat(1_900) },
  { writes: 20, text: 'x' },
];
const FRAME = { name: 'frame', title: 'insert, and its frame to an active reader' };
const SETS = {
  'active readers alone': async () => ({ close() {} }),
  'beside 1,000 slow readers': (address) => openSlow(address, READERS),
  'beside 1,000 that return': (address) => openReturning(address, READERS),
};

const options = optionsOf('^(get|list|insert|rmw|frame)$');
const { only, rounds } = options;

const resources = new Resources();
try {
  const database = await resources.add(Database.start());
  const url = urlFor(database.url, CONVOY.schema);
  const server = await resources.add(ServerProcess.start(CONVOY.name, url));
  await database.fill(FULL.rows, []);
  const bench = { database, servers: { [CONVOY.name]: server }, generator: options.generator };
  const active = await openActive(server.address);
  const [rows, broken] = [[], []];
  for (const work of [...WORKLOADS, FRAME].filter(({ name }) => only.test(name))) {
    console.log(`· ${work.title}`);
    const contestant = { ...CONVOY, server: CONVOY.name, path: work.ours };
    const taken = await inTurns(Object.keys(SETS), rounds, async (set, round) => {
      const readers = await SETS[set](server.address);
      try {
        await fill(server.address, active);
        if (work === FRAME) return await measureFrames(server.address, active, round);
        const run = () => measure(bench, contestant, work, FULL.requests, round);
        return await withInvariants(database, work, contestant, run);
      } finally {
        readers.close();
      }
    });
    if (work !== FRAME) {
      for (const [title, runs] of Object.entries(taken))
        broken.push(...runs.flatMap((run) => run.broken), ...brokenAnswers(work, { title, mayFail: false }, runs));
    }
    rows.push({ work: work.name, title: work.title, ...compared(taken) });
  }
  active.close();
  await report(options, Object.keys(SETS), { rows, broken });
} finally {
  await resources.stopAll();
}

/** Writes to each channel until its active reader has each write. */
async function fill(address, active) {
  const channels = Array.from({ length: CHANNELS }, (_, n) => channelName(n));
  for (const { writes, text } of FILL) {
    for (let n = 0; n < writes; n += 1) {
      await Promise.all(channels.map((channel) => writeFrame(address, active, channel, `${randomUUID()}${text}`)));
    }
  }
}

/** Writes to a channel; returns when its active reader has it. */
async function writeFrame(address, active, channel, text) {
  const body = JSON.stringify({ channel, author: 'someone', text });
  const response = await fetch(`http://${address}/api/mutation/messages.send`, { method: 'POST', body });
  if (!response.ok) throw new Error(`A write failed with ${response.status}: ${await response.text()}`);
  await response.arrayBuffer();
  await active.of(channel).until(text);
}

/** One write after the other, each until the active reader of its channel has it: how many there are per second. */
async function measureFrames(address, active, round) {
  const { warmMs, measureMs } = FULL.requests;
  const began = performance.now();
  let [writes, from] = [0, 0];
  for (let n = 0; performance.now() - began < warmMs + measureMs; n += 1) {
    if (from === 0 && performance.now() - began >= warmMs) from = performance.now();
    await writeFrame(address, active, channelName(n % CHANNELS), `frame ${round}.${n}.${performance.now()}`);
    if (from !== 0) writes += 1;
  }
  return { perSecond: (writes * 1_000) / (performance.now() - from) };
}
