/** How a function can fail. Each has a canary in what it throws, or in what it failed on. */
import { strictEqual } from 'node:assert';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { runInThisContext } from 'node:vm';
import { ConvoyError } from '@avvos/convoy';
import pg from 'pg';

const env = () => process.env.CANARY_ENV;
const path = () => process.env.CANARY_PATH;
const url = () => process.env.DATABASE_URL;
const row = async (ctx) => (await ctx.db.raw({ text: 'select note from canaries' }))[0].note;
const raw =
  (text, values = []) =>
  (ctx) =>
    ctx.db.raw({ text, values });
/** SQL about a stored value, which Postgres then quotes in its message, its detail or its hint. */
const onRow = (expression) => raw(`select ${expression} from canaries`);
const raising = (how) => raw(`do $$ begin raise exception ${how}; end $$`);
const thrown = (make) => () => {
  throw make();
};

class Odd extends Error {
  toJSON() {
    return { secret: env() };
  }
}

/** Of the code of a function. */
const THROWN = {
  error: thrown(() => new Error(env())),
  'error about a row': async (ctx) => {
    throw new Error(`no access to ${await row(ctx)}`);
  },
  path: thrown(() => new Error(`cannot open ${path()}`)),
  url: thrown(() => new Error(`cannot connect to ${url()}`)),
  string: thrown(() => env()),
  object: thrown(() => ({ secret: env(), code: 'FORBIDDEN', message: env() })),
  nothing: thrown(() => undefined),
  null: thrown(() => null),
  symbol: thrown(() => Symbol(env())),
  function: thrown(() => () => env()),
  cause: thrown(() => new Error('outside', { cause: new Error(env()) })),
  aggregate: thrown(() => new AggregateError([new Error(env())], 'several')),
  name: thrown(() => Object.assign(new Error('x'), { name: env() })),
  code: thrown(() => Object.assign(new Error(env()), { code: 'FORBIDDEN', status: 403, details: { secret: env() } })),
  stack: thrown(() => Object.assign(new Error('x'), { stack: `at ${path()}` })),
  json: thrown(() => new Odd('x')),
  type: () => env().missing.property,
  reference: () => runInThisContext(`${env()}.x`),
  range: () => env().repeat(2 ** 30),
  assert: () => strictEqual(env(), 'x'),
  overflow: function overflow() {
    return overflow() + env();
  },
  proxy: thrown(
    () =>
      new Proxy(new Error('x'), {
        get: () => {
          throw new Error(env());
        },
      }),
  ),
  getter: thrown(() =>
    Object.defineProperty(new Error('x'), 'message', {
      get: () => {
        throw new Error(env());
      },
    }),
  ),
  'wrapped cause': thrown(() => new ConvoyError('CONFLICT', 'Refused.', { cause: new Error(env()) })),
  'details that are not JSON': thrown(() => new ConvoyError('CONFLICT', 'Refused.', { details: { [env()]: 1n } })),
  'unknown code': thrown(() => new ConvoyError('NOPE', env())),
  'parse of JSON': () => JSON.parse(`{"key": ${env()}}`),
  'parse of a URL': () => new URL(env()),
  'a file': () => readFileSync(`${path()}/key.pem`),
  'a file later': () => readFile(`${path()}/key.pem`),
  'a module': () => import(`${path()}/missing.mjs`),
  'a fetch': () => fetch(`http://user:${env()}@127.0.0.1:1/${env()}`),
  'another database': async () => {
    const client = new pg.Client({ connectionString: `${url()}_missing` });
    await client.connect();
  },
  'a result that is a BigInt': async (ctx) => ({ value: 1n, note: await row(ctx) }),
  'a result in a circle': async (ctx) => {
    const result = { note: await row(ctx) };
    return Object.assign(result, { result });
  },
  'a result by its key': async (ctx) => ({ [await row(ctx)]: { deep: 1n } }),
  'a result that is a function': async (ctx) => Object.assign(() => null, { note: await row(ctx) }),
  'a result that throws': () => ({
    toJSON: () => {
      throw new Error(env());
    },
  }),
  'a result of a class': async (ctx) => new Map([[await row(ctx), 1]]),
  'a result with NaN': async (ctx) => ({ [await row(ctx)]: Number.NaN }),
  'a result too large': async (ctx) => (await row(ctx)).repeat(2_000_000),
  'a result too deep': async (ctx) => {
    let deep = await row(ctx);
    for (let n = 0; n < 100; n++) deep = { [env()]: deep };
    return deep;
  },
};

/** Of Postgres, by statements of the function. */
const STATEMENTS = {
  syntax: (ctx) => ctx.db.raw({ text: `selec '${env()}'`, values: [] }),
  'no table': (ctx) => ctx.db.raw({ text: `select * from ${env()}`, values: [] }),
  'no column': (ctx) => ctx.db.raw({ text: `select ${env()} from canaries`, values: [] }),
  'no function': (ctx) => ctx.db.raw({ text: `select ${env()}()`, values: [] }),
  'a value': (ctx) => ctx.db.raw({ text: 'select $1::int', values: [env()] }),
  'an integer': onRow('note::int'),
  'a number': onRow('note::numeric'),
  'a boolean': onRow('note::boolean'),
  'a date': onRow('note::date'),
  'a time zone': onRow('now() at time zone note'),
  'an interval': onRow('note::interval'),
  'a uuid': onRow('note::uuid'),
  'an address': onRow('note::inet'),
  JSON: onRow('note::jsonb'),
  bytes: onRow("decode(note, 'hex')"),
  'a pattern': onRow("'x' ~ ('(' || note)"),
  'an array': onRow('note::int[]'),
  'a regclass': onRow('note::regclass'),
  'a role': onRow('note::regrole'),
  'a range': onRow('note::int4range'),
  'a setting': onRow('current_setting(note)'),
  division: onRow('1 / (length(note) - length(note))'),
  'a sequence': onRow('setval(note, 1)'),
  'several rows': raw('select (select note from canaries union all select note || 1 from canaries)'),
  null: raw('insert into guarded (note, n) select null, n from guarded'),
  'a check': raw('insert into guarded (note, n) select note, -1 from canaries'),
  'a key': raw('insert into guarded (note, n) select note, 1 from canaries'),
  'a reference': raw("insert into referring (note) select note || 'x' from canaries"),
  'a referred row': raw('delete from guarded'),
  'an exclusion': raw("insert into excluded (note, span) select note, '[1,5]' from canaries"),
  'a domain': onRow('note::short_text'),
  'an enum': onRow('note::mood'),
  'too long': onRow('note::varchar(3)::char(1), cast(note as bit(3))'),
  raised: raising("'%', (select note from canaries)"),
  'raised with details': raising("'x' using detail = (select note from canaries), hint = (select note from canaries)"),
  'raised as a conflict': raising("'%', (select note from canaries) using errcode = '40001'"),
  'raised as a check': raising(
    "'%', (select note from canaries) using errcode = '23514', constraint = (select note from canaries)",
  ),
  'raised as a key': raising(
    "'%', (select note from canaries) using errcode = '23505', constraint = 'a_key', table = (select note from canaries)",
  ),
  'raised as a value': raising("'%', (select note from canaries) using errcode = '22P02'"),
  'raised as a cancellation': raising("'%', (select note from canaries) using errcode = '57014'"),
  'raised as a lost connection': raising("'%', (select note from canaries) using errcode = '08006'"),
  'raised as a shutdown': raising("'%', (select note from canaries) using errcode = '57P01'"),
  'raised as a permission': raising("'%', (select note from canaries) using errcode = '42501'"),
  'raised as a password': raising("'%', (select note from canaries) using errcode = '28P01'"),
  'raised as an internal error': raising("'%', (select note from canaries) using errcode = 'XX000'"),
  'raised as too much': raising("'%', (select note from canaries) using errcode = '54000'"),
  'raised by a table': raw('select * from forbidden'),
  'a lost session': raw('select pg_terminate_backend(pg_backend_pid()), note from canaries'),
  'a cancelled session': raw('select pg_cancel_backend(pg_backend_pid()), pg_sleep(1), note from canaries'),
  'a slow statement': raw('select pg_sleep(30), note from canaries'),
  'a write of a reader': raw('select set_config(note, note, false) from canaries'),
  'too many values': (ctx) => ctx.db.raw({ text: 'select $1', values: [env(), env()] }),
  'a value that is an object': (ctx) => ctx.db.raw({ text: 'select $1', values: [{ secret: env(), n: 1n }] }),
};

/** Of the operations on documents. */
const OPERATIONS = {
  'insert refused by the schema': async (ctx) => ctx.db.insert('secrets', { owner: 7, [await row(ctx)]: 1 }),
  'insert of a taken value': async (ctx) => {
    await ctx.db.insert('secrets', { owner: await row(ctx), n: 1 });
    return ctx.db.insert('secrets', { owner: await row(ctx), n: 2 });
  },
  'insert refused by a trigger': async (ctx) => ctx.db.insert('watched', { text: await row(ctx) }),
  'insert of NUL': async (ctx) => ctx.db.insert('watched', { text: `${await row(ctx)}\u0000` }),
  'insert of a BigInt': async (ctx) => ctx.db.insert('secrets', { owner: await row(ctx), n: 1n }),
  'an id from a row': async (ctx) => ctx.db.get(await row(ctx)),
  'ids from rows': async (ctx) => ctx.db.getMany([await row(ctx)]),
  'a patch by an id from a row': async (ctx) => ctx.db.patch(await row(ctx), { n: 1 }),
  'a deletion by an id from a row': async (ctx) => ctx.db.delete(await row(ctx)),
  'a value of another type in an index': async (ctx) =>
    ctx.db
      .query('secrets')
      .withIndex('by_owner', (q) => q.eq('owner', { secret: env() }))
      .collect(),
  'a cursor from a row': async (ctx) => ctx.db.query('secrets').paginate({ cursor: await row(ctx), numItems: 5 }),
  'a page of a size from a row': async (ctx) =>
    ctx.db.query('secrets').paginate({ cursor: null, numItems: await row(ctx) }),
  'an increment of text': async (ctx) => {
    const id = await ctx.db.insert('secrets', { owner: env(), n: 1 });
    return ctx.db.increment(id, 'owner', 1);
  },
  'an increment by text': async (ctx) => {
    const id = await ctx.db.insert('secrets', { owner: env(), n: 1 });
    return ctx.db.increment(id, 'n', await row(ctx));
  },
  'more than one where one is expected': async (ctx) => {
    await ctx.db.insertMany('secrets', [
      { owner: `${env()}1`, n: 1 },
      { owner: `${env()}2`, n: 1 },
    ]);
    return ctx.db.query('secrets').unique();
  },
  'a call of a missing function': async (ctx) =>
    ctx.runQuery({ kind: 'query', name: 'fail.missing' }, { secret: env() }),
  'a call with wrong arguments': async (ctx) =>
    ctx.runQuery({ kind: 'query', name: 'fail.query' }, { how: { [env()]: 1 } }),
  'a transaction that throws': (ctx) =>
    ctx.db.transaction(async () => {
      throw new Error(env());
    }),
};

/** Those that end their worker; they run last. */
export const CRASHES = {
  'an exception later': () =>
    new Promise(() =>
      setTimeout(() => {
        throw new Error(env());
      }),
    ),
  'a rejection that is not handled': async () => {
    Promise.reject(new Error(env()));
    await new Promise((resolve) => setTimeout(resolve, 50));
    return env().missing.x;
  },
  'an exit': () => process.exit(3),
  'a loop': () => {
    for (;;) if (env() === '') return null;
  },
  'all memory': () => {
    const all = [];
    for (;;) all.push(new Array(1e6).fill(env() + all.length));
  },
};

export const CAUSES = { ...THROWN, ...STATEMENTS, ...OPERATIONS, ...CRASHES };
/** Those that need a transaction or write, so that they fail only in a mutation. */
export const WRITES = new Set([...Object.keys(OPERATIONS), ...Object.keys(STATEMENTS)]);
export const HARMLESS = Object.keys(CAUSES).filter((how) => !(how in CRASHES));
