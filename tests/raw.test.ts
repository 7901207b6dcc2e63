/** User statements: their parameters, their results, and what they may not do. */
import { defineSchema, defineTable, query } from '@avvos/convoy';
import { makeQueryRef } from '@avvos/convoy/client';
import { type RawQuery, sql } from '@avvos/convoy/sql';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { postgresVersion } from './app.js';
import { failure, serveImprovised } from './improvised.js';

const schema = defineSchema({ notes: defineTable({ text: z.string() }), others: defineTable({ text: z.string() }) });

const counts = {
  notes: query({
    handler: async (ctx) => {
      const rows = await ctx.db.raw<{ n: number }>(sql`select count(*)::int as n from notes`, { tables: ['notes'] });
      return rows[0]?.n;
    },
  }),
};
const sweeps = {
  sweep: query({ handler: (ctx) => ctx.db.raw(sql`delete from notes`) }),
  list: query({ handler: (ctx) => ctx.db.raw(sql`select data->>'text' as text from notes`) }),
};
const COUNT = makeQueryRef<object, number>('counts.notes');

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const app of open.splice(0)) await app.close();
});
async function served() {
  const app = await serveImprovised({ schema: schema as never, functions: { counts, sweeps } });
  open.push(app);
  const stored = async () => (await app.psql.query('select from notes')).rowCount;
  const one = (query: RawQuery) => app.query(async ({ db }) => (await db.raw(query))[0]);
  return { ...app, stored, one };
}

describe('a result', () => {
  test.each([
    ['int2', `7::int2`, 7],
    ['int4', `-2147483648`, -2_147_483_648],
    ['int8', `9007199254740993`, '9007199254740993'],
    ['numeric', `0.10`, '0.10'],
    ['float8', `0.1::float8`, 0.1],
    ['float4', `1.5::float4`, 1.5],
    ['no number', `'NaN'::float8`, 'NaN'],
    ['boolean', `true`, true],
    ['null', `null::int`, null],
    ['text', `'a"b\\c' || chr(10) || '😀'`, 'a"b\\c\n😀'],
    ['varchar', `'x'::varchar(3)`, 'x'],
    ['uuid', `'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid`, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
    ['json', `'{"b": [1, 9007199254740992], "a": null}'::json`, { b: [1, 9_007_199_254_740_992], a: null }],
    ['jsonb', `'[1.50, "x"]'::jsonb`, [1.5, 'x']],
    ['json null', `'null'::jsonb`, null],
    ['date', `date '2024-02-29'`, '2024-02-29'],
    ['bytea', `'\\x00ff'::bytea`, '\\x00ff'],
    ['int4[]', `array[1, null, 3]`, [1, null, 3]],
    ['text[]', `array['a,b', '"', '{}', 'null', '']`, ['a,b', '"', '{}', 'null', '']],
    [
      'int4[][]',
      `array[[1, 2], [3, 4]]`,
      [
        [1, 2],
        [3, 4],
      ],
    ],
    ['int8[]', `array[1::int8]`, ['1']],
    ['boolean[]', `array[true, false]`, [true, false]],
    ['jsonb[]', `array['{"a": [1]}'::jsonb]`, [{ a: [1] }]],
    ['an empty array', `'{}'::int[]`, []],
  ])('%s', async (_, expression, expected) => {
    const app = await served();
    expect(await app.one(sql`select ${sql.raw(expression)} as value`)).toEqual({ value: expected });
  });

  test('times are text, in UTC, to the microsecond', async () => {
    const app = await served();
    const row = await app.one(sql`select timestamptz '2024-02-29 12:00:00.123456+02' as at,
      timestamp '2024-02-29 12:00:00.5' as here, interval '1 day 2 hours' as span`);
    expect(row).toEqual({ at: '2024-02-29 10:00:00.123456+00', here: '2024-02-29 12:00:00.5', span: '1 day 02:00:00' });
  });

  test('columns may have any name, and a statement without columns returns no rows', async () => {
    const app = await served();
    const names = ['__proto__', 'constructor', 'a"b', '😀'];
    const columns = sql.join(
      names.map((name, n) => sql`${n}::int as ${sql.identifier(name)}`),
      sql`, `,
    );
    const row = await app.one(sql`select ${columns}`);
    expect(Object.entries(row as object)).toEqual(names.map((name, n) => [name, n]));
    expect(await app.query(({ db }) => db.raw(sql`select 1 where false`))).toEqual([]);
  });
});

describe('a parameter', () => {
  test('is converted to the type that its position requires', async () => {
    const app = await served();
    const at = new Date('2024-02-29T10:00:00.123Z');
    const row = await app.one(sql`
      select ${5} + 1::int as five, ${'5'} + 1::int as text, ${12n}::int8 as big, ${0.1}::numeric as tenth,
        ${true} and true as yes, ${null}::text as none, ${at}::timestamptz = timestamptz '2024-02-29 10:00:00.123+00' as same,
        ${new Uint8Array([0, 255])}::bytea as bytes, ${{ a: ['"', null] }}::jsonb as object,
        ${['a,b', null, '"']}::text[] as list, 2 = any(${[1, 2]}) as among, ${[[1], [2]]}::int[] as grid,
        jsonb_typeof(${'"x"'}) as json, ${'2024-01-01'} < date '2024-01-02' as earlier`);
    expect(row).toEqual({
      ...{ five: 6, text: 6, big: '12', tenth: '0.1', yes: true, none: null, same: true, bytes: '\\x00ff' },
      ...{
        object: { a: ['"', null] },
        list: ['a,b', null, '"'],
        among: true,
        grid: [[1], [2]],
        json: 'string',
        earlier: true,
      },
    });
  });

  test.each([
    `'; drop table notes; --`,
    '$1',
    '\\',
    "\\'; select 1; --",
    '$$',
    '"',
    '%s',
    '\n--',
    '/*',
    'E\\x27',
    '😀',
  ])('is never interpreted as SQL: %j', async (text) => {
    const app = await served();
    expect(await app.one(sql`select ${text}::text as text, ${[text]}::text[] as list`)).toEqual({ text, list: [text] });
    expect(await app.one({ text: 'select $2::text as b, $1::text as a', values: [text, 'x'] })).toEqual({
      a: text,
      b: 'x',
    });
    expect(await app.stored()).toBe(0);
  });

  test('must have a text representation', async () => {
    const app = await served();
    for (const value of [
      undefined,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Symbol('s'),
      () => 1,
      new Map(),
      '\u0000',
      '\ud800',
    ]) {
      const refused = await failure(app.query(({ db }) => db.raw({ text: 'select $1::text', values: [value] })));
      expect(refused, String(value)).toMatchObject({ code: 'INVALID_ARGS' });
    }
  });
});

describe('a statement', () => {
  test.each([
    ['a string', 'select 1'],
    ['a string with an interpolated value', `select '${'x'}'`],
    ['undefined', undefined],
    ['null', null],
    ['an array', ['select 1']],
    ['a template called as a function', { raw: ['select 1'] }],
    ['values without a text', { values: [1] }],
    ['an empty one', sql` `],
    ['one with a zero', { text: 'select \u0000' }],
    ['one with half a pair', { text: `select '\ud800'` }],
  ])('is refused when it is %s', async (_, statement) => {
    const app = await served();
    const refused = await failure(app.query(({ db }) => db.raw(statement as never)));
    expect(refused).toMatchObject({ code: 'INVALID_ARGS' });
  });

  test('is refused with invalid table names in `tables`', async () => {
    const app = await served();
    for (const tables of ['notes', [''], [5], [null], {}]) {
      const refused = await failure(app.query(({ db }) => db.raw(sql`select 1`, { tables: tables as never })));
      expect(refused, JSON.stringify(tables)).toMatchObject({ code: 'INVALID_ARGS' });
    }
  });

  test.each([
    ['two statements', 'select 1; drop table notes'],
    ['a schema change', 'drop table notes'],
    ['the end of the transaction', 'commit'],
    ['the beginning of another', 'begin'],
    ['a savepoint', 'savepoint mine'],
    ['a setting', 'set session_replication_role = replica'],
    ['a copy', `copy notes to program 'true'`],
    ['a block', 'do $$ begin delete from notes; end $$'],
    ['no SQL', 'select from where'],
    ['an unknown table', 'select * from nowhere'],
  ])('may not be %s', async (_, text) => {
    const app = await served();
    await app.mutation(({ db }) => db.insert('notes', { text: 'there' }));
    for (const kind of ['query', 'mutation', 'nonTransactional', 'action'] as const) {
      const { code } = (await failure(app[kind](({ db }) => db.raw({ text })))) as { code: string };
      expect(['INVALID_ARGS', 'INTERNAL']).toContain(code);
    }
    const swallowing = app.mutation(async ({ db }) => {
      await db.insert('notes', { text: 'never' });
      await db.raw({ text }).catch(() => {});
    });
    await failure(swallowing);
    await app.action(async ({ db }) => {
      await db.raw({ text }).catch(() => {});
      expect(await db.raw(sql`select 1 as one`)).toEqual([{ one: 1 }]);
    });
    expect(await app.stored()).toBe(1);
    expect((await app.psql.query(`select current_setting('session_replication_role') as role`)).rows[0].role).toBe(
      'origin',
    );
  });

  test('that Postgres refuses reveals no details to the client', async () => {
    const app = await served();
    for (const text of [
      `select 'hunter2'::int`,
      'select hunter2',
      'select * from hunter2',
      'hunter2',
      `select 1 / 0`,
    ]) {
      const refused = await failure(app.mutation(({ db }) => db.raw({ text })));
      const codes = ['INVALID_ARGS', 'INTERNAL'];
      expect(codes).toContain((refused as { code: string }).code);
      expect(`${refused} ${JSON.stringify(refused)}`, text).not.toMatch(/hunter2|zero/);
    }
  });

  test('reads and changes the writes of its mutation', async () => {
    const app = await served();
    await app.mutation(async ({ db }) => {
      const id = await db.insert('notes', { text: 'one' });
      const [row] = await db.raw<{ id: string }>(sql`select id, data->>'text' as text from notes`);
      expect(row).toEqual({ id: id.slice('notes:'.length), text: 'one' });
      await db.raw(sql`update notes set data = data || ${{ text: 'two' }}::jsonb where id = ${row?.id}`);
      expect(await db.get(id)).toMatchObject({ text: 'two' });
      const part = db.transaction(async (tx) => {
        await tx.raw(sql`delete from notes`);
        expect(await tx.get(id)).toBeNull();
        throw new Error('no');
      });
      await failure(part);
      expect(await db.get(id)).toMatchObject({ text: 'two' });
    });
    expect(await app.stored()).toBe(1);
  });
});

describe('in a query', () => {
  test.for([
    { text: `insert into notes (data) values ('{"text": "x"}')` },
    { text: `update notes set data = '{}'` },
    { text: 'delete from notes' },
    { text: `with gone as (delete from notes returning id) select * from gone` },
    { text: `merge into notes using others on false when not matched then insert (data) values ('{}')`, since: 15 },
    { text: 'select * from notes for update' },
    // Earlier versions let a transaction that only reads write large objects.
    { text: `select lo_create(0)`, since: 16 },
    { text: `select nextval('counter')` },
    { text: `select writes()` },
  ])('a write fails: $text', async ({ text, since = 0 }, { skip }) => {
    const app = await served();
    skip((await postgresVersion(app.psql)) < since, `Postgres has this since ${since}`);
    await app.psql.query(`create sequence counter;
      create function writes() returns void language sql as $$ delete from notes $$`);
    await app.mutation(({ db }) => db.insert('notes', { text: 'there' }));
    const before = (await app.psql.query('select last_value, is_called from counter')).rows;
    const alone = await failure(app.query(({ db }) => db.raw({ text })));
    const second = app.query(async ({ db }) => {
      await db.query('notes').count();
      return db.raw({ text });
    });
    const behind = await failure(second);
    for (const refused of [alone, behind]) expect(refused).toMatchObject({ code: 'INVALID_ARGS' });
    expect(await app.stored()).toBe(1);
    expect((await app.psql.query('select last_value, is_called from counter')).rows).toEqual(before);
  });

  test('that a mutation runs, writes also fail', async () => {
    const app = await served();
    await app.mutation(({ db }) => db.insert('notes', { text: 'there' }));
    expect(await failure(app.mutation((ctx) => ctx.runQuery(sweeps.sweep)))).toMatchObject({ code: 'INVALID_ARGS' });
    await app.mutation(async (ctx) => {
      await ctx.db.insert('notes', { text: 'own' });
      expect(await ctx.runQuery(sweeps.list)).toEqual([{ text: 'there' }, { text: 'own' }]);
      await ctx.db.raw(sql`insert into notes (data) values ('{"text": "raw"}')`);
    });
    expect(await app.stored()).toBe(3);
  });

  test('that a mutation runs, a failure is rolled back alone, and the mutation may continue', async () => {
    const app = await served();
    await app.mutation(async (ctx) => {
      await ctx.db.insert('notes', { text: 'kept' });
      expect(await failure(ctx.runQuery(sweeps.sweep))).toMatchObject({ code: 'INVALID_ARGS' });
      expect(await ctx.runQuery(sweeps.list)).toEqual([{ text: 'kept' }]);
    });
    expect(await app.stored()).toBe(1);
  });

  test('the named tables decide when it runs again', async () => {
    const app = await served();
    const seen: number[] = [];
    let onChange = () => {};
    app.client.watch(COUNT, {}, ({ data }) => {
      if (data !== null) seen.push(data);
      onChange();
    });
    const until = async (count: number) => {
      while (seen.at(-1) !== count) {
        await new Promise<void>((resolve) => {
          onChange = resolve;
        });
      }
    };
    await until(0);
    const runs = app.convoy.stats().handlerRuns ?? 0;
    await app.mutation(({ db }) => db.insert('others', { text: 'elsewhere' }));
    await app.mutation(({ db }) => db.insert('notes', { text: 'here' }));
    await until(1);
    await app.psql.query(`insert into notes (data) values ('{"text": "by hand"}')`);
    await until(2);
    await app.mutation(({ db }) => db.raw(sql`delete from notes`));
    await until(0);
    // Three mutations, and three runs of the query: for the three writes to its table.
    expect((app.convoy.stats().handlerRuns ?? 0) - runs).toBe(3 + 3);
  });
});
