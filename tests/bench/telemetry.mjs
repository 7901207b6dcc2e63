// Measures the cost of telemetry: each workload without it, with metrics, with one per cent of
// the traces beside those with errors and slow calls, and with all traces. The collector runs
// on the same machine, and drops what it receives.
//
//   node tests/bench/telemetry.mjs --generator <path> --results <path> [--only <regex>] [--rounds <number>]
//
// `npm run bench -- --telemetry` builds the dependencies.
import { createServer } from 'node:http';
import { CONVOY } from './contestants.mjs';
import { Database, urlFor } from './database.mjs';
import { brokenAnswers, withInvariants } from './invariants.mjs';
import { FULL } from './pace.mjs';
import { measure } from './requests.mjs';
import { Resources } from './resources.mjs';
import { ServerProcess } from './server-process.mjs';
import { compared, inTurns, optionsOf, report } from './sets.mjs';
import { WORKLOADS } from './workloads.mjs';

const options = optionsOf('^(echo|get|list|insert|rmw|hot-row)$');
const { only, rounds } = options;

const resources = new Resources();
try {
  const database = await resources.add(Database.start());
  const collector = await resources.add(startCollector());
  const otlp = { endpoint: collector.url, protocol: 'http/protobuf' };
  const recorded = async (sampleRatio) => ({ telemetry: { otlp, prometheus: await freePort(), sampleRatio } });
  const sets = {
    none: {},
    'metrics alone': { telemetry: { prometheus: await freePort() } },
    'metrics, 1 % of traces': await recorded(0.01),
    'metrics, all traces': await recorded(1),
  };
  const servers = {};
  for (const [set, settings] of Object.entries(sets)) {
    const url = urlFor(database.url, CONVOY.schema);
    servers[set] = await resources.add(ServerProcess.start(CONVOY.name, url, { options: settings }));
  }
  await database.fill(FULL.rows, []);
  const bench = { database, servers, generator: options.generator };
  const rows = [];
  const broken = [];
  for (const work of WORKLOADS.filter(({ name }) => only.test(name))) {
    console.log(`· ${work.title}`);
    const taken = await inTurns(Object.keys(sets), rounds, (set, round) => {
      const contestant = { ...CONVOY, server: set, path: work.ours };
      const run = () => measure(bench, contestant, work, FULL.requests, round);
      return withInvariants(database, work, contestant, run);
    });
    for (const [title, runs] of Object.entries(taken))
      broken.push(...runs.flatMap((run) => run.broken), ...brokenAnswers(work, { title, mayFail: false }, runs));
    rows.push({ work: work.name, title: work.title, ...compared(taken) });
  }
  await report(options, Object.keys(sets), { rows, broken }, `The collector received ${collector.bytes()} bytes.`);
} finally {
  await resources.stopAll();
}

/** A collector that drops what it receives. */
async function startCollector() {
  let bytes = 0;
  const server = createServer((request, response) => {
    request.on('data', (chunk) => {
      bytes += chunk.length;
    });
    request.on('end', () => response.end());
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${server.address().port}`, bytes: () => bytes, stop };
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}
