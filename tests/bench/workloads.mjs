// The workloads: their requests, contestants and targets.

import { OTHERS } from './contestants.mjs';
import { CHANNELS, channelName } from './database.mjs';

const channels = Array.from({ length: CHANNELS }, (_, n) => channelName(n));
const text = 'somewhat longer than a greeting, and about as long as what people send each other';
const message = (channel) => ({ channel, author: 'someone', text });

const HUNDRED = 100;
const TWENTY = 20;
const AMOUNT = 5;

/** A path (or those of a mix) for all other contestants, with Convoy's target ratio for those with JSONB tables. */
const others = (path, target, note) =>
  OTHERS.map(({ name, title, tables }) => ({
    server: name,
    title: note ? `${title}, ${note}` : title,
    path,
    target: tables === 'jsonb' ? target : undefined,
  }));

/** It may fail after its retries: the only error that is allowed in a measurement. */
const mayFail = (contestant) => ({ ...contestant, mayFail: true });

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

/** Picks a channel, with `before` and `after` around its name; the first ones are the most frequent. */
const pickedChannel =
  ({ spread, before, after }) =>
  (_database, seed) => ({ picked: { ids: channels, picks: 1, spread, seed, before, between: '', after } });

/** As in YCSB. */
const ZIPF = { zipf: { exponent: 0.99 } };

/** The ways to read, change and write: with a lock, or in a snapshot that other writes must not have changed. */
const likes = (target) => [
  ...others('/like', target, 'for update'),
  ...others('/like-serializable', undefined, 'SERIALIZABLE').map(mayFail),
];

function like(name, title, spread, target) {
  return {
    name,
    title,
    bodies: picked('messages', { ...one, spread }),
    ours: '/api/mutation/messages.like',
    theirs: likes(target),
    writes: 'messages',
    invariant: 'likes',
  };
}

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
      ...others('/transfer-serializable', serializable, 'SERIALIZABLE').map(mayFail),
    ],
    writes: 'accounts',
    ofUniform,
    concurrency: 'transfers',
    invariant: 'money',
    group: 'transfers',
  };
}

/**
 * `bodies`: the request bodies, by database and seed. `mix`: several kinds of requests by
 * their shares, each with a path in `ours` and `theirs`. `same`: all contestants must return
 * the same response. `writes`: they must also write the same to this table. `invariant`: a
 * condition on the tables after a run (invariants.mjs).
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
    writes: 'messages',
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
    writes: 'messages',
    probes: 64,
  },
  { ...like('rmw', 'read, change and write one document', 'uniform', 1.3), pgbench: 'rmw' },
  like('rmw-1000', 'read, change and write one of 1,000 documents', { hot: { share: 1, size: 1_000 } }),
  like('hot-row', 'read, change and write the same document', { hot: { share: 1, size: 1 } }),
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
  {
    name: 'zipf-mix',
    title: 'gets and lists by Zipf 0.99, with 5 % of writes',
    mix: [
      { share: 60, bodies: picked('messages', { ...one, spread: ZIPF }), same: true },
      { share: 35, bodies: pickedChannel({ spread: ZIPF, before: '{"channel":"', after: '"}' }), same: true },
      { share: 2.5, bodies: picked('messages', { ...one, spread: ZIPF }), writes: 'messages', isLike: true },
      {
        share: 2.5,
        bodies: pickedChannel({
          spread: ZIPF,
          before: '{"channel":"',
          after: `","author":"someone","text":${JSON.stringify(text)}}`,
        }),
        writes: 'messages',
      },
    ],
    ours: [
      '/api/query/kept.get',
      '/api/query/kept.newest',
      '/api/mutation/messages.like',
      '/api/mutation/messages.send',
    ],
    theirs: others(['/get', '/newest', '/like', '/send']),
    invariant: 'likes',
  },
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
