// Compares Convoy with servers as they are usually written without it, on relational tables:
// prepared statements, pools of connections, and SERIALIZABLE with retries beside `for
// update` where a call reads what it writes. The same servers on tables like Convoy's stand
// beside them. Prints Markdown.
//
//   node tests/bench/relational.mjs --generator <path> --results <path> [--only <regex>] [--rounds <number>]
//     [--seconds <number>] [--quick] [--engine <profile>]
//
// `npm run bench -- --relational` builds the dependencies. All share one Postgres, and each
// round measures all contestants of a row in rotating order. Slowness does not fail the run;
// contestants that do different things do, and so do violated invariants and errors.
import { CONVOY, OTHERS } from './contestants.mjs';
import { CHANNELS, channelName, Database, urlFor } from './database.mjs';
import { describeEnvironment, environmentOf } from './environment.mjs';
import { brokenAnswers, errorsOf, withInvariants } from './invariants.mjs';
import { OpenStreams } from './live/open-streams.mjs';
import { FULL, QUICK } from './pace.mjs';
import { describeRows, evaluate } from './relational-table.mjs';
import { contestantsOf, measure } from './requests.mjs';
import { Resources } from './resources.mjs';
import { checkSame } from './same.mjs';
import { ServerProcess } from './server-process.mjs';
import { inTurns, optionsOf, publish } from './sets.mjs';
import { WORKLOADS } from './workloads.mjs';

const LIST_KEPT = '/api/query/kept.newest';

/**
 * The rows by their workloads, with the goal for the ratio to the better peer. `paths`: those of
 * the ways to be measured, without the slower ones. `isWatched`: each list has a live
 * subscriber, so Convoy answers from memory, and clients send their consistency tokens.
 */
const ROWS = [
  { name: 'echo', goal: 2 },
  { name: 'get', goal: 1.4 },
  { name: 'list', goal: 1.2 },
  { name: 'list-kept', workload: 'list', title: 'the same list by the result cache', goal: 10, ours: LIST_KEPT },
  {
    name: 'list-watched',
    workload: 'list',
    title: 'the same list while it is watched',
    goal: 10,
    ours: LIST_KEPT,
    isWatched: true,
  },
  { name: 'insert', goal: 1.5, paths: ['/send'] },
  { name: 'insert-100', goal: 0.9, paths: ['/send-many'] },
  { name: 'rmw-1000', goal: 1.2 },
  { name: 'hot-row', goal: 4 },
  { name: 'transfer-uniform', goal: 1.3 },
  { name: 'transfer-hot', goal: 1.5 },
  { name: 'zipf-mix' },
].map(({ workload, paths, isWatched = false, ...row }) => {
  const work = WORKLOADS.find(({ name }) => name === (workload ?? row.name));
  const theirs = work.theirs.filter(({ path }) => paths === undefined || paths.includes(path));
  return { ...work, ...row, theirs, isWatched, echo: isWatched ? 'convoy-position' : undefined };
});

/** The most calls of a watched list that may run the function: some have no consistency token yet. */
const MAX_RUN_SHARE = 0.05;

const options = optionsOf('', {
  seconds: { type: 'string' },
  quick: { type: 'boolean', default: false },
  engine: { type: 'string', default: 'release' },
});
const pace = options.quick ? QUICK : FULL;
const measureMs = options.seconds === undefined ? pace.relational.measureMs : Number(options.seconds) * 1000;
if (!(measureMs >= 100)) throw new Error(`--seconds ${options.seconds} is no duration of at least 0.1 s.`);
const requests = { ...pace.relational, measureMs, rounds: options.quick ? 1 : options.rounds };
const rows = ROWS.filter(({ name }) => options.only.test(name));
if (rows.length === 0) throw new Error(`--only matches none of ${ROWS.map(({ name }) => name).join(', ')}.`);

const resources = new Resources();
try {
  const database = await resources.add(Database.start());
  const bench = { database, generator: options.generator, servers: await startServers(database) };
  console.log('· comparing responses and written rows');
  await checkSame(bench, rows);
  const environment = await environmentOf(database, { engine: options.engine, rows: pace.rows, requests });
  const found = { environment, rows: [], broken: [] };
  for (const row of rows) {
    console.log(`· ${row.title}`);
    const { contestants, broken } = await measureRow(bench, row);
    found.rows.push({ ...evaluate(row, contestants), contestants });
    found.broken.push(...broken);
  }
  await publish(options, `${describeEnvironment(environment)}\n\n${describeRows(found.rows)}`, found);
} finally {
  await resources.stopAll();
}

/** Starts all servers, and fills the tables once Convoy has created its own. */
async function startServers(database) {
  const servers = { [CONVOY.name]: await resources.add(startConvoy(database)) };
  console.log(`· filling the tables with ${pace.rows} rows each`);
  await database.fill(pace.rows, OTHERS);
  for (const { name, schema } of OTHERS) {
    servers[name] = await resources.add(ServerProcess.start(name, urlFor(database.url, schema)));
  }
  return servers;
}

function startConvoy(database) {
  return ServerProcess.start(CONVOY.name, urlFor(database.url, CONVOY.schema));
}

/** The contestants with their runs, Convoy first, and the violations of all. */
async function measureRow(bench, row) {
  const contestants = contestantsOf(row);
  const own = new Resources();
  try {
    const servers = row.isWatched ? { ...bench.servers, convoy: await startWatched(bench, own) } : bench.servers;
    const taken = await inTurns([...contestants.keys()], requests.rounds, (index, round) => {
      const run = () => measureCounted({ ...bench, servers }, contestants[index], row, round);
      return withInvariants(bench.database, row, contestants[index], run);
    });
    const measured = contestants.map((each, index) => ({
      ...each,
      runs: taken[index],
      errors: errorsOf(taken[index]),
    }));
    const broken = measured.flatMap((each) => [
      ...each.runs.flatMap((run) => run.broken),
      ...brokenAnswers(row, each, each.runs),
    ]);
    if (row.isWatched) broken.push(...brokenCache(row, measured[0]));
    return { contestants: measured, broken };
  } finally {
    await own.stopAll();
  }
}

/** One run, with the number of function runs in it: fewer than calls where results come from memory. */
async function measureCounted(bench, contestant, row, round) {
  const server = bench.servers[contestant.server];
  const before = await server.stats();
  const run = await measure(bench, contestant, row, requests, round);
  const after = await server.stats();
  // Only Convoy counts them.
  return { ...run, functionRuns: after.handlerRuns === undefined ? null : after.handlerRuns - before.handlerRuns };
}

/**
 * A server with a live subscriber of each list: one of its own, since it retains results for a
 * while after the last subscriber has left.
 */
async function startWatched({ database, generator }, own) {
  const server = await own.add(startConvoy(database));
  const streams = Array.from({ length: CHANNELS }, (_, n) => {
    const args = encodeURIComponent(JSON.stringify({ channel: channelName(n) }));
    return { path: `/api/subscribe?name=kept.newest&args=${args}` };
  });
  await own.add(OpenStreams.open(generator, server, streams));
  return server;
}

/** Checks that calls of watched lists are answered from memory, all but a few. */
function brokenCache({ title }, { runs }) {
  const sum = (count) => runs.reduce((all, run) => all + count(run), 0);
  const [answered, functionRuns] = [sum((run) => run.answered), sum((run) => run.functionRuns)];
  if (functionRuns <= answered * MAX_RUN_SHARE) return [];
  return [`${title}: ${answered} calls ran the function ${functionRuns} times`];
}
