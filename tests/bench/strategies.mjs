// Which of the strategies that mutations run by earn their place: each workload with
// all of them, without one of them, and with none but the serializable transaction;
// over loopback, and over a line of 2 ms there and back.
//
//   node tests/bench/strategies.mjs --generator <path> --delay <path> --results <path> [--only <regex>]
//     [--rounds <number>]
//
// `npm run bench -- --strategies` builds what this needs. All servers share one
// Postgres and take turns; a ratio is between runs of the same round. Nothing fails
// for being slow; an answer that is an error, or money that is lost, does.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { CONVOY } from './contestants.mjs';
import { Database, urlFor } from './database.mjs';
import { brokenAnswers, guarded } from './invariants.mjs';
import { FULL } from './pace.mjs';
import { PAIRS, ratioOf, verdictOf } from './pairs.mjs';
import { Parts } from './parts.mjs';
import { measure } from './requests.mjs';
import { ServerProcess } from './server-process.mjs';
import { table, whole } from './table.mjs';
import { WORKLOADS } from './workloads.mjs';

const { values: options } = parseArgs({
  options: {
    generator: { type: 'string' },
    delay: { type: 'string' },
    results: { type: 'string' },
    only: { type: 'string', default: '^(insert|rmw|hot-row|transfer-.*)$' },
    rounds: { type: 'string', default: String(PAIRS) },
  },
});

/** What each leaves out, by the names the engine knows. */
const SETS = {
  'all of them': [],
  'no optimistic': ['noOptimistic'],
  'no serial queue': ['noSerialQueue'],
  'no insert batching': ['noInsertBatching'],
  'serializable alone': ['noOptimistic', 'noSerialQueue', 'noInsertBatching'],
};
const [ALL, ...OTHERS] = Object.keys(SETS);
/** Microseconds, one way. */
const LINES = { loopback: 0, '2 ms': 1_000 };

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
const only = new RegExp(options.only);
const rounds = Number(options.rounds);
const parts = new Parts();
try {
  const database = await parts.begin(Database.start());
  const servers = {};
  for (const [line, delay] of Object.entries(LINES)) {
    const url = delay === 0 ? database.url : (await parts.begin(delayed(database.url, delay))).url;
    for (const [set, failpoints] of Object.entries(SETS)) {
      const server = ServerProcess.start(CONVOY.name, urlFor(url, CONVOY.schema), { options: { failpoints } });
      servers[`${set}, ${line}`] = await parts.begin(server);
    }
  }
  await database.fill(FULL.rows, []);
  const bench = { database, servers, generator: options.generator };
  const rows = [];
  const broken = [];
  for (const work of WORKLOADS.filter(({ name }) => only.test(name))) {
    for (const line of Object.keys(LINES)) {
      console.log(`· ${work.title}, ${line}`);
      const taken = await inTurns(bench, work, line);
      broken.push(...Object.entries(taken).flatMap(([set, runs]) => wrong(work, set, runs)));
      rows.push({ work: work.name, title: `${work.title}, ${line}`, ...compared(taken) });
    }
  }
  const told = broken.map((sentence) => `✗ ${sentence}\n`).join('');
  console.log(`\n${describe(rows)}\n\n${judge(rows)}\n${told}`);
  await mkdir(dirname(options.results), { recursive: true });
  await writeFile(
    options.results,
    `${JSON.stringify({ at: new Date().toISOString(), rounds, rows, broken }, null, 2)}\n`,
  );
  if (broken.length > 0) process.exitCode = 1;
} finally {
  await parts.stopAll();
}

/** A proxy before the database. */
async function delayed(url, micros) {
  const there = new URL(url);
  const child = spawn(options.delay, [there.host, String(micros)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [port] = await once(child.stdout, 'data');
  there.hostname = '127.0.0.1';
  there.port = String(port).trim();
  const stop = async () => {
    child.stdin.end();
    await once(child, 'exit');
  };
  return { url: there.href, stop };
}

/** Runs of each set, in another order each round. */
async function inTurns(bench, work, line) {
  const sets = Object.keys(SETS);
  const taken = Object.fromEntries(sets.map((set) => [set, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (let turn = 0; turn < sets.length; turn += 1) {
      const set = sets[(round + turn) % sets.length];
      const contestant = { ...CONVOY, server: `${set}, ${line}`, path: work.ours };
      const run = () => measure(bench, contestant, work, FULL.requests, round);
      taken[set].push(await guarded(bench.database, work, contestant, run));
    }
  }
  return taken;
}

/** What is wrong with its answers. Where it gives up, it says so: without the queue that is part of it. */
function wrong(work, set, runs) {
  const mayFail = set !== ALL;
  return [...runs.flatMap((run) => run.broken), ...brokenAnswers(work, { title: set, mayFail }, runs)];
}

function compared(taken) {
  const perSecond = (set) => taken[set].map((run) => run.perSecond);
  const middle = perSecond(ALL).toSorted((a, b) => a - b)[Math.floor(rounds / 2)];
  const ratios = OTHERS.map((set) => {
    const ratio = ratioOf(perSecond(ALL).map((before, round) => ({ before, now: perSecond(set)[round] })));
    return { set, ratio, verdict: verdictOf(ratio, 'higher') };
  });
  return { middle, ratios };
}

function describe(rows) {
  const cell = ({ ratio: { median, low, high }, verdict }) =>
    `${median.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]${verdict === 'slower' ? ' ▼' : ''}`;
  const cells = rows.map(({ title, middle, ratios }) => [title, whole(middle), ...ratios.map(cell)]);
  return table(['', `${ALL}, calls/s`, ...OTHERS], cells);
}

/** A strategy goes if no workload is slower without it. */
function judge(rows) {
  return OTHERS.map((set, place) => {
    const slower = rows.filter(({ ratios }) => ratios[place].verdict === 'slower').map(({ title }) => title);
    return slower.length === 0 ? `${set}: nothing is slower.` : `${set}: slower are ${slower.join('; ')}.`;
  }).join('\n');
}
