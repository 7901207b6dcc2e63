// Requests per second of both servers, for each kind of work in turn.
import assert from 'node:assert/strict';
import { CHANNELS, channelName } from './database.mjs';
import { runLoad } from './load.mjs';

const channels = Array.from({ length: CHANNELS }, (_, n) => channelName(n));
const text = 'somewhat longer than a greeting, and about as long as what people send each other';

/** Ours, theirs, and the bodies sent to both in turn. `same`: both must give the same answer. */
export const WORK = [
  {
    title: 'echo through Zod and JavaScript',
    bodies: [{ name: 'a name', count: 42, tags: ['one', 'two', 'three'] }],
    ours: '/api/query/echo.say',
    theirs: [{ title: 'Fastify', path: '/echo' }],
    same: true,
  },
  {
    title: '20 newest of 100 channels by index',
    bodies: channels.map((channel) => ({ channel })),
    ours: '/api/query/messages.newest',
    theirs: [{ title: 'Fastify + pg', path: '/newest' }],
    same: true,
  },
  {
    title: 'insert one document',
    bodies: channels.map((channel) => ({ channel, author: 'someone', text })),
    ours: '/api/mutation/messages.send',
    theirs: [
      { title: 'Fastify + pg, autocommit', path: '/send' },
      { title: 'Fastify + pg, BEGIN/COMMIT', path: '/send-in-transaction' },
    ],
    same: false,
  },
];

/**
 * Alternates between the servers and gives the median run of each.
 *
 * @param {{ convoy: ServerProcess, fastify: ServerProcess, database: Database, generator: string }} bench
 * @param {typeof WORK[number]} work
 * @param {{ rounds: number, warmMs: number, measureMs: number, connections: number }} pace
 */
export async function compare(bench, work, pace) {
  if (work.same) await checkSame(bench, work);
  const contestants = [
    { title: 'Convoy', server: bench.convoy, path: work.ours },
    ...work.theirs.map((theirs) => ({ ...theirs, server: bench.fastify })),
  ];
  const runs = contestants.map(() => []);
  for (let round = 0; round < pace.rounds; round += 1) {
    for (const [place, contestant] of contestants.entries()) {
      runs[place].push(await measure(bench, contestant, work.bodies, pace));
    }
  }
  const results = contestants.map(({ title }, place) => ({ title, ...medianRun(runs[place]), runs: runs[place] }));
  return { title: work.title, ours: results[0], theirs: results.slice(1) };
}

async function measure({ generator, database }, { server, path }, bodies, { warmMs, measureMs, connections }) {
  const counters = () => Promise.all([server.cpu(), database.cpu()]);
  const plan = { mode: 'requests', address: server.address, path, connections, warmMs, measureMs };
  plan.bodies = bodies.map((body) => JSON.stringify(body));
  let before;
  const measured = await runLoad(generator, plan, async () => {
    before = await counters();
  });
  const after = await counters();
  const each = (place) => (after[place] === null ? null : (after[place] - before[place]) / measured.requests);
  return { ...measured, serverCpu: each(0), postgresCpu: each(1) };
}

function medianRun(runs) {
  return runs.toSorted((a, b) => a.perSecond - b.perSecond)[Math.floor(runs.length / 2)];
}

/** A comparison of different answers would be none. */
async function checkSame({ convoy, fastify }, { bodies, ours, theirs }) {
  const [a, b] = await Promise.all([
    ask(convoy.address, ours, bodies[0]),
    ...theirs.map(({ path }) => ask(fastify.address, path, bodies[0])),
  ]);
  assert.deepEqual(a, b, `${ours} and ${theirs[0].path} answer alike`);
}

async function ask(address, path, body) {
  const response = await fetch(`http://${address}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return response.json();
}
