// The workloads: their requests, contestants and targets.

import { OTHERS } from './contestants.mjs';
import { CHANNELS, channelName } from './database.mjs';

const channels = Array.from({ length: CHANNELS }, (_, n) => channelName(n));
const text = 'somewhat longer than a greeting, and about as long as what people send each other';
const message = (channel) => ({ channel, author: 'someone', text });

const HUNDRED = 100;
const TWENTY = 20;
const AMOUNT = 5;

/** A path for all other contestants, with Convoy's target ratio for those with JSONB tables. */
const others = (path, target, note) =>
  OTHERS.map(({ name, title, tables }) => ({
    server: name,
    title: note ? `${title}, ${note}` : title,
    path,
    target: tables === 'jsonb' ? target : undefined,
  }));

const inTurn = (bodies) => () => ({ inTurn: bodies.map((body) => JSON.stringify(body)) });

/**
 * Bodies with ids that the generator picks and inserts between these texts.
 *
 * @param {'messages' | 'accounts'} table
 */
const picked =
  (table, { picks = 1, spread = 'uniform', before, between = '', after }) =>
  (database, seed) => ({ picked: { ids: database.ids(table), picks, spread, seed, before, between, after } });

const one = { before: '{"id":"', after: '"}' };

function transfer(name, title, spread, { forUpdate, serializable, ofUniform }) {
  return {
    name,
    title,
    bodies: picked('accounts', {
      picks: 2,
      spread,
      before: '{"from":"',
      between: '","to":"',
      after: `","amount":${AMOUNT}}`,
    }),
    ours: '/api/mutation/bench.transfer',
    theirs: [
      ...others('/transfer', forUpdate, 'for update'),
      // It may fail after its retries: the only error that is allowed in a measurement.
      ...others('/transfer-serializable', serializable, 'SERIALIZABLE').map((each) => ({ ...each, mayFail: true })),
    ],
    ofUniform,
    concurrency: 'transfers',
    invariant: 'money',
    group: 'transfers',
  };
}

/**
 * `bodies`: the request bodies, by database and seed. `same`: all contestants must return
 * the same response. `invariant`: a condition on the tables after a run (invariants.mjs).
 * `group`: workloads that are measured in turn, since they are compared with each other.
 * `concurrency`: selects a number of connections of the pace. `pgbench`: the name of the
 * pgbench script. `target` and `ofUniform` (the minimum share of Convoy's uniform
 * transfers): see targets.mjs. `probes`: the number of calls for counting statements, where
 * the default would take long.
 */
export const WORKLOADS = [
  {
    name: 'echo',
    title: 'echo through Zod and JavaScript',
    bodies: inTurn([{ name: 'a name', count: 42, tags: ['one', 'two', 'three'] }]),
    ours: '/api/query/echo.say',
    theirs: others('/echo')
      .slice(0, 2)
      .map((each, index) => ({ ...each, title: ['Fastify', 'node:http'][index] })),
    same: true,
  },
  {
    name: 'node-http',
    title: 'echo through a server of node:http and nodeHandler',
    bodies: inTurn([{ name: 'a name', count: 42, tags: ['one', 'two', 'three'] }]),
    ours: '/api/query/echo.say',
    theirs: [{ server: 'convoy-node-http', title: 'through node:http', path: '/api/query/echo.say' }],
  },
  {
    name: 'get',
    title: 'get by id',
    bodies: picked('messages', one),
    ours: '/api/query/messages.get',
    theirs: others('/get', 1.15),
    same: true,
    pgbench: 'get',
  },
  {
    name: 'list',
    title: `20 newest of ${CHANNELS} channels by index`,
    bodies: inTurn(channels.map((channel) => ({ channel }))),
    ours: '/api/query/messages.newest',
    theirs: others('/newest', 1.15),
    same: true,
    pgbench: 'list',
  },
  {
    name: 'raw',
    title: 'get by id, by raw SQL',
    bodies: picked('messages', one),
    ours: '/api/query/messages.getRaw',
    theirs: others('/get'),
    same: true,
  },
  {
    name: 'get-20',
    title: `${TWENTY} gets by id in one call`,
    bodies: picked('messages', { picks: TWENTY, before: '{"ids":["', between: '","', after: '"]}' }),
    ours: '/api/query/messages.getMany',
    theirs: [...others('/get-each', 4, 'a loop'), ...others('/get-many', undefined, 'one statement')],
    same: true,
  },
  {
    name: 'insert',
    title: 'insert one document',
    bodies: inTurn(channels.map(message)),
    ours: '/api/mutation/messages.send',
    theirs: [...others('/send', 0.9, 'autocommit'), ...others('/send-in-transaction', 1.2, 'BEGIN/COMMIT')],
    pgbench: 'insert',
  },
  {
    name: 'insert-100',
    title: `insert ${HUNDRED} documents in one call`,
    bodies: inTurn(
      channels.map((_, n) => ({
        messages: Array.from({ length: HUNDRED }, (_, m) => message(channelName((n + m) % CHANNELS))),
      })),
    ),
    ours: '/api/mutation/messages.sendMany',
    theirs: [...others('/send-each', 4, 'a loop'), ...others('/send-many', undefined, 'one statement')],
    probes: 64,
  },
  {
    name: 'rmw',
    title: 'read, change and write one document',
    bodies: picked('messages', one),
    ours: '/api/mutation/messages.like',
    theirs: others('/like', 1.3, 'for update'),
    pgbench: 'rmw',
    invariant: 'likes',
  },
  {
    name: 'hot-row',
    title: 'read, change and write the same document',
    bodies: picked('messages', { ...one, spread: { hot: { share: 1, size: 1 } } }),
    ours: '/api/mutation/messages.like',
    theirs: others('/like', undefined, 'for update'),
    invariant: 'likes',
  },
  {
    ...transfer('transfer-uniform', 'transfer, all accounts alike', 'uniform', {}),
    pgbench: 'transfer',
  },
  transfer(
    'transfer-hot',
    'transfer, 80 % of picks on 100 accounts',
    { hot: { share: 0.8, size: 100 } },
    {
      ofUniform: 2 / 3,
    },
  ),
  transfer(
    'transfer-zipf',
    'transfer, Zipf 1.5',
    { zipf: { exponent: 1.5 } },
    {
      forUpdate: 1.3,
      serializable: 4,
      ofUniform: 2 / 3,
    },
  ),
];

/** The workloads in groups that are measured in turn, in their order. */
export function inGroups(workloads) {
  const groups = new Map();
  for (const work of workloads) {
    const name = work.group ?? work.name;
    groups.set(name, [...(groups.get(name) ?? []), work]);
  }
  return [...groups.values()];
}
