// Measures the benefit of each execution strategy of mutations: each workload with all
// strategies, without one of them, and with the serializable transaction alone; over
// loopback, and with a round-trip time of 2 ms.
//
//   node tests/bench/strategies.mjs --generator <path> --delay <path> --results <path> [--only <regex>]
//     [--rounds <number>]
//
// `npm run bench -- --strategies` builds the dependencies. All servers share one Postgres
// and are measured in turn; a ratio compares runs of the same round. Slowness does not
// fail the run; an error response or lost money does.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { CONVOY } from './contestants.mjs';
import { Database, urlFor } from './database.mjs';
import { brokenAnswers, withInvariants } from './invariants.mjs';
import { FULL } from './pace.mjs';
import { measure } from './requests.mjs';
import { Resources } from './resources.mjs';
import { ServerProcess } from './server-process.mjs';
import { compared, inTurns, optionsOf, report } from './sets.mjs';
import { WORKLOADS } from './workloads.mjs';

const options = optionsOf('^(insert|rmw|hot-row|transfer-.*)$', { delay: { type: 'string' } });
const { only, rounds } = options;

/** The failpoints of each set, which disable strategies. */
const SETS = {
  'all of them': [],
  'no optimistic': ['noOptimistic'],
  'no serial queue': ['noSerialQueue'],
  'no commit batching': ['noCommitBatching'],
  'serializable alone': ['noOptimistic', 'noSerialQueue', 'noCommitBatching'],
};
const [ALL, ...OTHERS] = Object.keys(SETS);
/** The one-way delays in microseconds. */
const DELAYS = { loopback: 0, '2 ms': 1_000 };

const resources = new Resources();
try {
  const database = await resources.add(Database.start());
  const servers = {};
  for (const [network, delay] of Object.entries(DELAYS)) {
    const url = delay === 0 ? database.url : (await resources.add(delayed(database.url, delay))).url;
    for (const [set, failpoints] of Object.entries(SETS)) {
      const server = ServerProcess.start(CONVOY.name, urlFor(url, CONVOY.schema), { options: { failpoints } });
      servers[`${set}, ${network}`] = await resources.add(server);
    }
  }
  await database.fill(FULL.rows, []);
  const bench = { database, servers, generator: options.generator };
  const rows = [];
  const broken = [];
  for (const work of WORKLOADS.filter(({ name }) => only.test(name))) {
    for (const network of Object.keys(DELAYS)) {
      console.log(`· ${work.title}, ${network}`);
      const taken = await measureSets(bench, work, network);
      broken.push(...Object.entries(taken).flatMap(([set, runs]) => violations(work, set, runs)));
      rows.push({ work: work.name, title: `${work.title}, ${network}`, ...compared(taken) });
    }
  }
  await report(options, Object.keys(SETS), { rows, broken }, judge(rows));
} finally {
  await resources.stopAll();
}

/** Starts a proxy that delays the traffic to the database. */
async function delayed(url, micros) {
  const target = new URL(url);
  const child = spawn(options.delay, [target.host, String(micros)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [port] = await once(child.stdout, 'data');
  target.hostname = '127.0.0.1';
  target.port = String(port).trim();
  const stop = async () => {
    child.stdin.end();
    await once(child, 'exit');
  };
  return { url: target.href, stop };
}

/** Measures each set, with this network. */
function measureSets(bench, work, network) {
  return inTurns(Object.keys(SETS), rounds, (set, round) => {
    const contestant = { ...CONVOY, server: `${set}, ${network}`, path: work.ours };
    const run = () => measure(bench, contestant, work, FULL.requests, round);
    return withInvariants(bench.database, work, contestant, run);
  });
}

/** The violations in all runs of a set. Without all strategies, calls may fail after their retries. */
function violations(work, set, runs) {
  const mayFail = set !== ALL;
  return [...runs.flatMap((run) => run.broken), ...brokenAnswers(work, { title: set, mayFail }, runs)];
}

/** A strategy is unnecessary if no workload is slower without it. */
function judge(rows) {
  return OTHERS.map((set, index) => {
    const slower = rows.filter(({ ratios }) => ratios[index].verdict === 'slower').map(({ title }) => title);
    return slower.length === 0 ? `${set}: no workload is slower.` : `${set}: slower workloads: ${slower.join('; ')}.`;
  }).join('\n');
}
