// Compares this tree with another commit of Convoy: the same program on the same
// machine, in alternating pairs of measurements in one run.
//
//   node tests/bench/against.mjs --generator <path> --results <path> --other <folder> --other-engine <path>
//     --commit <name> [--only <regex>] [--pairs <number>] [--quick]
//
// `npm run bench -- --against <commit>` builds the dependencies. Each side has its own
// Postgres. The order within a pair alternates. Slowness does not fail the run; an
// error response does.
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { CONVOY } from './contestants.mjs';
import { Database, urlFor } from './database.mjs';
import { brokenAnswers } from './invariants.mjs';
import { CONVOY as LIVE_CONVOY } from './live/contestants.mjs';
import { busy, fillPosts } from './live/posts.mjs';
import { warm } from './live/warm.mjs';
import { watch } from './live/watch.mjs';
import { FULL, QUICK } from './pace.mjs';
import { PAIRS, ratioOf, verdictOf } from './pairs.mjs';
import { measure } from './requests.mjs';
import { Resources } from './resources.mjs';
import { ServerProcess } from './server-process.mjs';
import { table } from './table.mjs';
import { WORKLOADS } from './workloads.mjs';

const { values: options } = parseArgs({
  options: {
    generator: { type: 'string' },
    results: { type: 'string' },
    other: { type: 'string' },
    'other-engine': { type: 'string' },
    commit: { type: 'string', default: 'the other commit' },
    only: { type: 'string', default: '^(echo|get|list|raw|insert|rmw|live-each)$' },
    pairs: { type: 'string', default: String(PAIRS) },
    quick: { type: 'boolean', default: false },
  },
});
const needed = ['generator', 'results', 'other', 'other-engine'].filter((name) => options[name] === undefined);
if (needed.length > 0) throw new Error(`--${needed.join(', --')} are missing; \`npm run bench\` passes them.`);

const pace = options.quick ? QUICK : FULL;
const only = new RegExp(options.only);
const pairs = options.quick ? 1 : Number(options.pairs);
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

const resources = new Resources();
try {
  const sides = [await startSide('before', otherTree()), await startSide('now', {})];
  const rows = [];
  const broken = [];
  for (const work of WORKLOADS.filter(({ name }) => only.test(name))) {
    console.log(`· ${work.title}`);
    const taken = await inPairs(sides, (side, round) => request(side, work, round));
    broken.push(
      ...sides.flatMap(({ name }) =>
        brokenAnswers(
          work,
          { title: name },
          taken.map((pair) => pair[name]),
        ),
      ),
    );
    rows.push(row(work.title, 'calls/s', taken, (run) => run.perSecond, 'higher'));
    rows.push(row('', 'server CPU, µs/call', taken, (run) => run.serverCpu, 'lower'));
    rows.push(row('', 'p99, µs', taken, (run) => run.latency.p99, 'lower'));
  }
  if (only.test('live-each')) rows.push(...(await live(sides)));
  const results = { at: new Date().toISOString(), commit: options.commit, pairs, rows, broken };
  console.log(`\n${describe(rows)}\n${broken.map((sentence) => `✗ ${sentence}\n`).join('')}`);
  await mkdir(dirname(options.results), { recursive: true });
  await writeFile(options.results, `${JSON.stringify(results, null, 2)}\n`);
  if (broken.length > 0) process.exitCode = 1;
} finally {
  await resources.stopAll();
}

function otherTree() {
  return {
    file: `${options.other}/tests/bench/servers/child.mjs`,
    env: { CONVOY_NATIVE_PATH: options['other-engine'] },
  };
}

/** Starts a side: its filled Postgres and its server. */
async function startSide(name, tree) {
  console.log(`· starting ${name === 'now' ? 'this tree' : options.commit}`);
  const database = await resources.add(Database.start());
  const server = await resources.add(ServerProcess.start(CONVOY.name, urlFor(database.url, CONVOY.schema), tree));
  await database.fill(pace.rows, []);
  await fillPosts(database, pace.posts);
  return { name, generator: options.generator, database, server, servers: { [CONVOY.name]: server } };
}

/** Calls `take` for both sides in each round, in alternating order. */
async function inPairs(sides, take) {
  const taken = [];
  for (let round = 0; round < pairs; round += 1) {
    const pair = {};
    for (const side of round % 2 === 0 ? sides : sides.toReversed()) pair[side.name] = await take(side, round);
    taken.push(pair);
  }
  return taken;
}

function request(side, work, round) {
  return measure(side, { server: CONVOY.name, path: work.ours }, work, pace.requests, round);
}

/** One subscriber per channel, and one writer at a constant rate. */
async function live(sides) {
  const { sizes, warmWrites, writes, writesPerSecond, leaveOut } = pace.live['live-each'];
  const size = sizes.at(-1);
  const channels = Array.from({ length: size }, (_, n) => busy(n));
  console.log(`· ${size} on ${size} channels`);
  for (const side of sides) await warm(side, LIVE_CONVOY, side.server, warmWrites);
  const taken = await inPairs(sides, (side) =>
    watch(side, LIVE_CONVOY, side, { channels, subscribersEach: 1, writes, writesPerSecond, leaveOut }),
  );
  return [
    row(`${size} on ${size} channels`, 'CPU per write, µs', taken, (run) => run.serverCpu, 'lower'),
    row('', 'response → frame p50, µs', taken, (run) => run.afterAnswer.p50, 'lower'),
    row('', 'response → frame p99, µs', taken, (run) => run.afterAnswer.p99, 'lower'),
  ];
}

function row(title, unit, taken, value, better) {
  const values = taken.map(({ before, now }) => ({ before: value(before), now: value(now) }));
  const ratio = ratioOf(values);
  return { title, unit, values, ratio, verdict: verdictOf(ratio, better) };
}

function describe(rows) {
  const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
  const cells = rows.map(({ title, unit, values, ratio, verdict }) => [
    title,
    unit,
    Math.round(median(values.map(({ before }) => before))).toLocaleString('en-US'),
    Math.round(median(values.map(({ now }) => now))).toLocaleString('en-US'),
    `${ratio.median.toFixed(3)} [${ratio.low.toFixed(3)}, ${ratio.high.toFixed(3)}]`,
    verdict,
  ]);
  return table(['', 'unit', options.commit, 'this tree', `now / before, ${pairs} pairs`, ''], cells);
}
