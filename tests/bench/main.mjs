// Compares Convoy with Fastify + pg and node:http + postgres.js: one run, one Postgres,
// one table of results.
//
//   node tests/bench/main.mjs --generator <path> --results <path> [--curve <path>] [--quick] [--only <regex>]
//     [--engine <profile>]
//
// Speeds never fail the run, since they depend on the machine; a violated invariant of
// live queries or money does, and so does an unexpected error. `npm run bench` builds the
// dependencies.
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { CONTESTANTS, CONVOY, OTHERS, PGBENCH } from './contestants.mjs';
import { CountingProxy } from './counting-proxy.mjs';
import { drawCurve } from './curve.mjs';
import { Database, urlFor } from './database.mjs';
import { environmentOf } from './environment.mjs';
import { fillPosts, measureLive, SCENARIOS } from './live/index.mjs';
import { FULL, QUICK } from './pace.mjs';
import { Pgbench } from './pgbench.mjs';
import { probe } from './probe.mjs';
import { describe } from './report.mjs';
import { compare } from './requests.mjs';
import { Resources } from './resources.mjs';
import { checkSame } from './same.mjs';
import { ServerProcess } from './server-process.mjs';
import { judge } from './targets.mjs';
import { inGroups, WORKLOADS } from './workloads.mjs';

const { values: options } = parseArgs({
  options: {
    generator: { type: 'string' },
    results: { type: 'string' },
    curve: { type: 'string' },
    engine: { type: 'string', default: 'release' },
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
  },
});
if (options.generator === undefined || options.results === undefined) {
  throw new Error('--generator and --results are needed; `npm run bench` passes them.');
}
const only = new RegExp(options.only);
const workloads = WORKLOADS.filter(({ name }) => only.test(name));
const scenarios = SCENARIOS.filter(({ name }) => only.test(name));
if (workloads.length === 0 && scenarios.length === 0) {
  const names = [...WORKLOADS, ...SCENARIOS].map(({ name }) => name);
  throw new Error(`--only ${options.only} matches none of ${names.join(', ')}.`);
}

const pace = options.quick ? QUICK : FULL;

// Child processes end with this one: servers and Postgres detect its exit, the generator is killed.
setTimeout(() => {
  console.error(`The benchmark did not end within ${pace.timeoutMs / 1000} s.`);
  process.exit(1);
}, pace.timeoutMs).unref();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

const resources = new Resources();
try {
  const results = await run();
  console.log(`\n${describe(results)}\n`);
  await mkdir(dirname(options.results), { recursive: true });
  await writeFile(options.results, `${JSON.stringify(results, null, 2)}\n`);
  console.log(`All runs are in ${options.results}`);
  await saveCurve(results);
  if (results.broken.length > 0) process.exitCode = 1;
} finally {
  await resources.stopAll();
}

async function run() {
  const database = await resources.add(Database.start());
  const bench = { database, generator: options.generator };
  const measured = workloads.length > 0 ? await measureRequests(bench) : [];
  const live = scenarios.length > 0 ? await measureScenarios(bench) : [];
  const environment = await environmentOf(database, { ...pace, engine: options.engine });
  const broken = [...measured, ...live].flatMap((work) => work.broken);
  return { environment, requests: judge(measured), live, broken };
}

async function measureRequests(bench) {
  const { database } = bench;
  const proxied = await startProxied(database);
  const probed = new Map();
  await checkSame({ ...bench, ...proxied }, workloads);
  log('counting statements');
  for (const work of workloads) probed.set(work.name, await probe({ ...bench, ...proxied }, work, pace.probe));
  await resources.stopAll({ except: database });

  bench.servers = {};
  for (const { name, schema } of CONTESTANTS) {
    bench.servers[name] = await resources.add(ServerProcess.start(name, urlFor(database.url, schema)));
  }
  bench.pgbench = await Pgbench.find(database);
  const measured = [];
  for (const group of inGroups(workloads)) {
    log(group.map(({ title }) => title).join('; '));
    measured.push(...(await compare(bench, group, pace.requests)));
  }
  await resources.stopAll({ except: database });
  return measured.map((work) => withCounts(work, probed.get(work.name)));
}

async function measureScenarios(bench) {
  // Convoy creates its tables when it starts.
  await resources.add(ServerProcess.start(CONVOY.name, urlFor(bench.database.url, CONVOY.schema)));
  await fillPosts(bench.database, pace.posts);
  await resources.stopAll({ except: bench.database });
  return measureLive(bench, scenarios, pace.live, log);
}

async function saveCurve({ environment, live }) {
  const curve = live.find((scenario) => scenario.curve)?.curve;
  if (curve === undefined || options.curve === undefined) return;
  const { each } = pace.live['live-beside'];
  const caption =
    `${each.subscribers} subscribers of as many channels, ${each.pace.writesPerSecond} inserts a second; all on ` +
    `${environment.cores} × ${environment.cpu}`;
  await writeFile(options.curve, drawCurve(curve, caption));
  console.log(`The curve is in ${options.curve}`);
}

/** Starts all servers behind counting proxies, and fills the tables once Convoy has created them. */
async function startProxied(database) {
  const proxies = {};
  const servers = {};
  for (const { name, schema } of CONTESTANTS) {
    proxies[name] = await resources.add(CountingProxy.start(urlFor(database.url, schema)));
    servers[name] = await resources.add(ServerProcess.start(name, proxies[name].url));
    if (servers.convoy === servers[name]) {
      log(`filling the tables with ${pace.rows} rows each`);
      await database.fill(pace.rows, [...OTHERS, PGBENCH]);
    }
  }
  return { proxies, servers };
}

/** Adds the counted statements and round trips to the measurements. */
function withCounts(result, [ours, ...theirs]) {
  return {
    ...result,
    ours: { ...result.ours, wire: ours },
    theirs: result.theirs.map((other, index) => ({ ...other, wire: theirs[index] })),
  };
}

function log(message) {
  console.log(`· ${message}`);
}
