/** A database created by Convoy 0.0.1 opens unchanged: same rows, same ids, and its own indexes kept. */
import { defineRef, defineSchema, defineTable, query } from '@avvos/convoy';
import { createConvoyClient, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { improvise } from './improvised.js';

const schema = defineSchema({
  lists: defineTable({ name: z.string() }).index('by_name', ['name']),
  tasks: defineTable({
    listId: defineRef('lists'),
    title: z.string(),
    position: z.number(),
    done: z.boolean().default(false),
    note: z.string().optional(),
  })
    .index('by_list', ['listId', 'position'])
    .index('by_position', ['position']),
});

const TITLES = makeQueryRef<object, string[]>('tasks.titles');
const tasks = {
  titles: query({
    handler: async (ctx) => {
      const found = await ctx.db
        .query('tasks')
        .withIndex('by_position', (q) => q.gte('position', 9))
        .collect();
      return found.map(({ title }) => title as string);
    },
  }),
};

const OLD_INDEXES = ['lists_by_name', 'tasks_by_list', 'tasks_by_position'];
/** Titles in the order of their creation, which differs from that of their random ids, and their positions. */
const OLD_TASKS = [
  ['ten', 10],
  ['nine', 9],
  ['two', 2],
  ['hundred', 100],
  ['minus one', -1],
  ['one and a half', 1.5],
] as const;

/** The statements of 0.0.1. */
const LAYOUT = `
  create table "lists" (id uuid primary key default gen_random_uuid(), created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(), data jsonb not null default '{}');
  create table "tasks" (id uuid primary key default gen_random_uuid(), created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(), data jsonb not null default '{}');
  create index "lists_by_name" on "lists" ((data->>'name'));
  create index "tasks_by_list" on "tasks" ((data->>'listId'), (data->>'position'));
  create index "tasks_by_position" on "tasks" ((data->>'position'));
`;

const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

/** An empty database and a direct connection to it. */
async function emptyDatabase() {
  const databaseUrl = freshDatabaseUrl();
  const server = new pg.Client({ connectionString: process.env.CONVOY_TEST_DATABASE_URL });
  await server.connect();
  await server.query(`create database ${new URL(databaseUrl).pathname.slice(1)}`);
  await server.end();
  const psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
  ending.push(() => psql.end());
  return { databaseUrl, psql };
}

/** A database with the content of one created by 0.0.1. */
async function oldDatabase() {
  const { databaseUrl, psql } = await emptyDatabase();
  await psql.query(LAYOUT);
  const list = await psql.query(`insert into "lists" (data) values ('{"name": "home"}') returning id`);
  const listId = `lists:${list.rows[0].id}`;
  for (const [place, [title, position]] of OLD_TASKS.entries()) {
    // The first document was written before the field \`done\` existed.
    const data = { listId, title, position, ...(place > 0 && { done: place === 1 }), old: { key: [1, 'x'] } };
    await psql.query(
      `insert into "tasks" (created_at, updated_at, data) select at, at, $2 from (values (now() - $1 * interval '1 day')) as v (at)`,
      [100 - place, data],
    );
  }
  return { databaseUrl, psql, listId };
}

/** Rows with all their columns and system columns, the writing transaction included. */
async function rowsOf(psql: pg.Client, table: string): Promise<Map<string, string>> {
  const { rows } = await psql.query(
    `select id, concat_ws('|', ctid, xmin, id, created_at, updated_at, data::text) as all from "${table}"`,
  );
  return new Map(rows.map((row) => [`${table}:${row.id}`, row.all]));
}

async function opened<Schema extends Parameters<typeof createConvoy>[0]['schema']>(databaseUrl: string, of: Schema) {
  const { functions, on } = improvise();
  const convoy: Convoy = await createConvoy({ schema: of, functions: { ...functions, tasks }, databaseUrl });
  ending.push(() => convoy.close());
  return { convoy, ...on(convoy) };
}

describe('a database of 0.0.1', () => {
  test('is read in creation order, and by an index in the order of values', async () => {
    const { databaseUrl, listId } = await oldDatabase();
    const { query: ask } = await opened(databaseUrl, schema);
    await ask(async ({ db }) => {
      const titles = async (scan: AsyncIterable<object>) => {
        const found: object[] = [];
        for await (const document of scan) found.push(document);
        return each(found, 'title');
      };
      const created = OLD_TASKS.map(([title]) => title);
      const byPosition = [...OLD_TASKS].sort(([, one], [, other]) => one - other).map(([title]) => title);
      expect(await titles(db.query('tasks'))).toEqual(created);
      expect(await titles(db.query('tasks').order('desc'))).toEqual([...created].reverse());
      expect(await titles(db.query('tasks').withIndex('by_position'))).toEqual(byPosition);
      const ofList = db.query('tasks').withIndex('by_list', (q) => q.eq('listId', listId).gt('position', 2));
      expect(await titles(ofList.order('desc'))).toEqual(['hundred', 'ten', 'nine']);
      const paged: unknown[] = [];
      let next: { readonly isDone: boolean; readonly continueCursor: string } | null = null;
      while (next?.isDone !== true) {
        const cursor: string | null = next?.continueCursor ?? null;
        const page = await db.query('tasks').withIndex('by_position').paginate({ cursor, numItems: 2 });
        paged.push(...each(page.page, 'title'));
        next = page;
      }
      expect(paged).toEqual(byPosition);
      expect(
        await db
          .query('lists')
          .withIndex('by_name', (q) => q.eq('name', 'home'))
          .unique(),
      ).toMatchObject({ id: listId });
    });
  });

  test('keeps its ids and times, and gets defaults only when it is read', async () => {
    const { databaseUrl, psql } = await oldDatabase();
    const { query: ask } = await opened(databaseUrl, schema);
    const { rows } = await psql.query(
      'select id, data, extract(epoch from created_at) * 1000 as ms from tasks order by created_at',
    );
    await ask(async ({ db }) => {
      for (const { id, data, ms } of rows) {
        const document = await db.get(`tasks:${id}` as never);
        expect(document).toEqual({ done: false, ...data, id: `tasks:${id}`, _creationTime: Number(ms) });
        expect(await db.get('tasks', id)).toEqual(document);
      }
    });
    expect(rows[0].data).not.toHaveProperty('done');
    expect((await psql.query(`select from tasks where not data ? 'done'`)).rowCount).toBe(1);
  });

  test('is writable: a write changes its row, and all other rows stay identical', async () => {
    const { databaseUrl, psql } = await oldDatabase();
    const before = await rowsOf(psql, 'tasks');
    const { mutation } = await opened(databaseUrl, schema);
    expect(await rowsOf(psql, 'tasks')).toEqual(before);
    const { rows } = await psql.query('select id, data from tasks order by created_at');
    const [ten, nine, two] = rows.map(({ id }) => `tasks:${id}`) as [string, string, string];
    const inserted = await mutation(async ({ db }) => {
      // Without the missing field, and with the one unknown to the schema.
      expect(await db.patch(ten as never, { position: 11 })).toMatchObject({
        position: 11,
        done: false,
        old: { key: [1, 'x'] },
      });
      const replacement = { listId: rows[1].data.listId, title: 'nine and a half', position: 9.5 };
      expect(await db.replace(nine as never, replacement)).toMatchObject({ ...replacement, id: nine });
      expect(await db.delete(two as never)).toBe(true);
      return db.insert('tasks', { ...replacement, title: 'new' });
    });
    const after = await rowsOf(psql, 'tasks');
    for (const [id, row] of before) {
      if (id === two) expect(after.has(id)).toBe(false);
      else if (id === ten || id === nine) expect(after.get(id)).not.toBe(row);
      else expect(after.get(id)).toBe(row);
    }
    expect(after.size).toBe(before.size);
    const stored = async (id: string) =>
      (await psql.query('select data from tasks where id = $1', [id.slice(6)])).rows[0].data;
    expect(await stored(ten)).toEqual({ ...rows[0].data, position: 11 });
    expect(await stored(nine)).toEqual({
      listId: rows[1].data.listId,
      title: 'nine and a half',
      position: 9.5,
      done: false,
    });
    expect(await stored(inserted)).toMatchObject({ title: 'new', done: false });
  });

  test('is live, for writes by Convoy and by SQL', async () => {
    const { databaseUrl, psql, listId } = await oldDatabase();
    const { convoy, mutation } = await opened(databaseUrl, schema);
    const { port } = await convoy.listen({ port: 0 });
    const client = createConvoyClient({ baseUrl: `http://127.0.0.1:${port}` });
    ending.push(async () => client.close());
    let seen: readonly string[] = [];
    let wake = () => {};
    client.watch(TITLES, {}, ({ data }) => {
      if (data !== null) seen = data;
      wake();
    });
    const until = async (expected: readonly string[]) => {
      while (seen.join() !== expected.join()) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    };
    await until(['nine', 'ten', 'hundred']);
    await mutation(({ db }) => db.insert('tasks', { listId, title: 'by us', position: 9.5 }));
    await until(['nine', 'by us', 'ten', 'hundred']);
    await psql.query(`update tasks set data = data || '{"position": 50}' where data->>'title' = 'two'`);
    await until(['nine', 'by us', 'ten', 'two', 'hundred']);
    await psql.query(`delete from tasks where data->>'title' = 'hundred'`);
    await until(['nine', 'by us', 'ten', 'two']);
  });

  test('keeps its own indexes, which are reported as superseded, and opening it again creates no objects', async () => {
    const { databaseUrl, psql } = await oldDatabase();
    const indexes = async () => {
      const { rows } = await psql.query(
        `select indexname as name, indexdef from pg_indexes where schemaname = 'public' order by 1`,
      );
      return rows;
    };
    const before = await indexes();
    const { convoy } = await opened(databaseUrl, schema);
    expect(convoy.loaded.created).toEqual(['index lists.by_name', 'index tasks.by_list', 'index tasks.by_position']);
    const after = await indexes();
    expect(after).toEqual(expect.arrayContaining(before));
    expect(convoy.loaded.leftOver).toHaveLength(OLD_INDEXES.length);
    for (const name of OLD_INDEXES) {
      const reported = convoy.loaded.leftOver.filter((line) => line.includes(`${name} `));
      expect(reported).toEqual([expect.stringContaining('superseded')]);
    }
    const again = await opened(databaseUrl, schema);
    expect(again.convoy.loaded.created).toEqual([]);
    expect(again.convoy.loaded.leftOver).toEqual(convoy.loaded.leftOver);
    expect(await indexes()).toEqual(after);
  });
});

describe('a user table', () => {
  const unmanaged = defineSchema({
    audit_log: defineTable({ event: z.string(), size: z.number().default(1) })
      .index('by_size', ['size'])
      .unmanaged(),
  });

  /** The table's definition in Postgres' catalog. */
  const shapeOf = async (psql: pg.Client) => {
    const { rows } = await psql.query(`
      select array(select attname || ' ' || atttypid::regtype from pg_attribute where attrelid = c.oid and attnum > 0) as columns,
        array(select tgname::text from pg_trigger where tgrelid = c.oid) as triggers,
        array(select indexrelid::regclass::text from pg_index where indrelid = c.oid) as indexes
      from pg_class as c where relname = 'audit_log'`);
    return rows;
  };

  test('needs only the columns id and data, and is not altered', async () => {
    const { databaseUrl, psql } = await emptyDatabase();
    await psql.query(`create table audit_log (id uuid, data jsonb);
      insert into audit_log values (gen_random_uuid(), '{"event": "ten", "size": 10}'), (gen_random_uuid(), '{"event": "old"}')`);
    const before = await shapeOf(psql);
    const { convoy, mutation } = await opened(databaseUrl, unmanaged);
    expect(convoy.loaded.created).toEqual([]);
    await mutation(async ({ db }) => {
      const id = await db.insert('audit_log', { event: 'nine', size: 9 });
      expect(await db.get(id)).toEqual({ id, _creationTime: expect.any(Number), event: 'nine', size: 9 });
      expect(await db.patch(id, { event: 'Nine' })).toMatchObject({ id, event: 'Nine', size: 9 });
      const bySize = db.query('audit_log').withIndex('by_size', (q) => q.gte('size', 1));
      expect(each(await bySize.collect(), 'event')).toEqual(['Nine', 'ten']);
      expect(each(await bySize.order('desc').take(1), 'event')).toEqual(['ten']);
      expect(await db.query('audit_log').count()).toBe(3);
      expect(
        await db
          .query('audit_log')
          .filter((q) => q.eq(q.field('event'), 'old'))
          .first(),
      ).toMatchObject({ size: 1 });
      const byId = await db.query('audit_log').collect();
      expect(each(byId, 'id')).toEqual(each(byId, 'id').sort());
      expect(await db.replace(id, { event: 'replaced' })).toMatchObject({ event: 'replaced', size: 1 });
      expect(await db.increment(id, 'size', 2)).toMatchObject({ size: 3 });
    });
    await mutation(async ({ db }) => {
      const [first] = await db.query('audit_log').collect();
      expect(await db.delete(first?.id)).toBe(true);
    });
    expect((await psql.query('select from audit_log')).rowCount).toBe(2);
    expect(await shapeOf(psql)).toEqual(before);
  });
});

/** One field of each document. */
function each(documents: readonly object[], field: string): unknown[] {
  return documents.map((document) => (document as Record<string, unknown>)[field]);
}
