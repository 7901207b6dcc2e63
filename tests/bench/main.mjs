// Convoy beside Fastify + pg: one run, one Postgres, one table of results.
//
//   node tests/bench/main.mjs --generator <path> --results <path> [--quick] [--engine <profile>]
//
// Speeds never fail the run, since they belong to the machine; a broken promise
// about live queries does. `npm run bench` builds what this needs.
import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { Database } from './database.mjs';
import { brokenInvariants, measureLive } from './live.mjs';
import { describe } from './report.mjs';
import { compare, WORK } from './requests.mjs';
import { ServerProcess } from './server-process.mjs';

const { values: options } = parseArgs({
  options: {
    generator: { type: 'string' },
    results: { type: 'string' },
    engine: { type: 'string', default: 'release' },
    quick: { type: 'boolean', default: false },
  },
});
if (options.generator === undefined || options.results === undefined) {
  throw new Error('--generator and --results are needed; `npm run bench` gives them.');
}

const FULL = {
  rows: 100_000,
  // Several short runs rather than a few long ones: what else the machine does
  // meanwhile then meets all contestants, and the median leaves the worst out.
  requests: { rounds: 5, warmMs: 500, measureMs: 2_500, connections: 32 },
  live: { subscribers: 1_000, queries: 100, writes: 100, writesPerSecond: 20, leaveOut: 20 },
  longestMs: 300_000,
};

/** Shows that everything works, and says nothing of speed. */
const QUICK = {
  rows: 2_000,
  requests: { rounds: 1, warmMs: 100, measureMs: 300, connections: 8 },
  live: { subscribers: 100, queries: 10, writes: 20, writesPerSecond: 20, leaveOut: 5 },
  longestMs: 60_000,
};

const pace = options.quick ? QUICK : FULL;

// Children end with their parent: servers and Postgres see it go, the generator is told.
setTimeout(() => {
  console.error(`The benchmark did not end within ${pace.longestMs / 1000} s.`);
  process.exit(1);
}, pace.longestMs).unref();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

const started = [];
try {
  const results = await run();
  console.log(`\n${describe(results)}\n`);
  await mkdir(dirname(options.results), { recursive: true });
  await writeFile(options.results, `${JSON.stringify(results, null, 2)}\n`);
  console.log(`All runs are in ${options.results}`);
  if (results.broken.length > 0) process.exitCode = 1;
} finally {
  for (const part of started.reverse()) await part.stop();
}

async function run() {
  const database = await begin(Database.start());
  const convoy = await begin(ServerProcess.start('convoy', database.url));
  say(`filling the table with ${pace.rows} rows`);
  await database.fill(pace.rows);
  const fastify = await begin(ServerProcess.start('fastify', database.url));
  const bench = { database, convoy, fastify, generator: options.generator };

  const requests = [];
  for (const work of WORK) {
    say(work.title);
    requests.push(await compare(bench, work, pace.requests));
  }
  say(`live queries, ${pace.live.subscribers} subscribers`);
  const live = await measureLive(bench, pace.live);
  const environment = {
    at: new Date().toISOString(),
    cpu: cpus()[0]?.model ?? 'unknown processor',
    cores: availableParallelism(),
    node: process.versions.node,
    postgres: await database.describe(),
    engine: options.engine,
    ...pace.requests,
  };
  return { environment, requests, live, broken: brokenInvariants(live, pace.live) };
}

/** Waits for a part to start, and notes that it must be stopped. */
async function begin(starting) {
  const part = await starting;
  started.push(part);
  return part;
}

function say(what) {
  console.log(`· ${what}`);
}
