/** `convoy migrate`: plans, changes online, and drops nothing. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CommandLine, noteFunctions, notes, schema } from './command-line.js';

let app: CommandLine;
beforeEach(async () => {
  app = await CommandLine.create({ 'convoy/schema.ts': notes, 'convoy/functions/notes.ts': noteFunctions });
});
afterEach(() => app.remove());

const migrate = (...flags: string[]) => app.run(['migrate', ...flags]);
const indexes = async () =>
  (await app.query<{ name: string }>(`select indexname as name from pg_indexes where tablename = 'notes'`)).map(
    ({ name }) => name,
  );
const insert = (...bodies: string[]) =>
  app.query(
    `insert into notes (data) select jsonb_build_object('body', body) from unnest(array['${bodies.join("','")}']) as body; analyze notes`,
  );

/** `notes` with another definition of the table. */
const withTable = (table: string) => app.write({ 'convoy/schema.ts': schema(`  notes: ${table},`) });

describe('convoy migrate', () => {
  test('creates a database, then finds it up to date; deploy is the same command', async () => {
    const planned = await migrate('--dry-run');
    expect(planned).toMatchObject({ code: 0, stdout: expect.stringContaining('Plan: create the database') });
    const first = await migrate();
    expect(first).toMatchObject({ code: 0, stdout: expect.stringContaining('created table notes') });
    const before = await app.catalog();
    const again = await app.run(['deploy', '--json']);
    expect(again.code).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({ ok: true, plan: [], applied: false, warnings: [] });
    expect(await app.catalog()).toBe(before);
  });

  test('shows the plan with its SQL and changes nothing with --dry-run', async () => {
    await migrate();
    const before = await app.catalog();
    await app.write({
      'convoy/schema.ts': schema(`  notes: defineTable({ body: z.string() }).index('by_body', ['body']),
  rooms: defineTable({ name: z.string() }),`),
    });
    const planned = await migrate('--dry-run');
    expect(planned.code).toBe(0);
    expect(planned.stdout).toMatch(/create table rooms[\s\S]*create table if not exists "rooms" \([\s\S]*data jsonb/);
    expect(planned.stdout).toContain('create triggers of rooms');
    expect(await app.catalog()).toBe(before);
  });

  test('drops neither tables nor indexes that the schema no longer has', async () => {
    await migrate();
    await insert('kept');
    const before = await indexes();
    await app.write({
      'convoy/schema.ts': schema('  rooms: defineTable({ name: z.string() }),'),
      'convoy/functions/notes.ts': null,
    });
    const done = await migrate('--yes');
    expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining('Left unchanged: table notes') });
    expect(await indexes()).toEqual(before);
    expect(await app.query(`select data->>'body' as body from notes`)).toEqual([{ body: 'kept' }]);
  });

  test('refuses a unique index over duplicates before it begins', async () => {
    await migrate();
    await insert('same', 'same', 'other');
    const before = await app.catalog();
    await withTable(`defineTable({ body: z.string() }).index('by_body', ['body'], { unique: true })`);
    const refused = await migrate('--yes');
    expect(refused.code).toBe(1);
    expect(refused.stdout).toContain(
      'Nothing was changed. index notes.by_body cannot be unique: 1 value of its fields is',
    );
    expect(await app.catalog()).toBe(before);
  });

  test('needs --yes for a plan with warnings without a terminal', async () => {
    await migrate();
    await insert('one', 'two');
    const before = await app.catalog();
    await withTable(`defineTable({ body: z.string() }).index('by_body', ['body'], { unique: true })`);
    const refused = await migrate('--json');
    expect(refused.code).toBe(1);
    expect(JSON.parse(refused.stdout)).toMatchObject({
      ok: false,
      error: { message: expect.stringContaining('--yes') },
    });
    expect(refused.stderr).toContain('writes of equal values are rejected');
    expect(await app.catalog()).toBe(before);
    const done = await migrate('--yes', '--json');
    expect(JSON.parse(done.stdout)).toMatchObject({ ok: true, applied: true, created: ['index notes.by_body'] });
  });

  test('warns of stored documents that do not fit before it changes anything', async () => {
    await migrate();
    await insert('one', 'two');
    const before = await app.catalog();
    await withTable(
      `defineTable({ body: z.string(), age: z.number() }).index('by_age', ['age']).index('by_body', ['body'])`,
    );
    const refused = await migrate();
    expect(refused.code).toBe(1);
    expect(refused.stdout).toMatch(/notes: 2 of 2 documents do not fit the schema.*age: .* \(such as notes:/);
    expect(await app.catalog()).toBe(before);
  });

  test('builds an index concurrently: writers go on, and the build reports its progress', async () => {
    await migrate();
    await insert('a', 'b');
    // The build waits for this transaction to end, which has written to the table.
    const writer = await app.connect();
    await writer.query('begin');
    await writer.query(`update notes set data = data || '{"age": 1}'`);
    await withTable(
      `defineTable({ body: z.string(), age: z.number().optional() }).index('by_age', ['age']).index('by_body', ['body'])`,
    );
    const migrating = app.start(['migrate']);
    await migrating.logs(/building index notes\.by_age: waiting for writers/);
    const another = await app.connect();
    await another.query(`set lock_timeout = '5s'`);
    await another.query(`insert into notes (data) values ('{"body":"meanwhile"}')`);
    await writer.query('commit');
    expect(await migrating.ended).toBe(0);
    expect((await indexes()).filter((name) => name.startsWith('convoy_notes_by_age_'))).toHaveLength(1);
    expect(await app.query('select 1 from pg_index where not indisvalid')).toEqual([]);
  });

  test('waits for a lock in short attempts, so that writers do not queue behind it', async () => {
    await migrate();
    await app.query('drop trigger _convoy_update on notes');
    const holder = await app.connect();
    await holder.query('begin');
    await holder.query(`insert into notes (data) values ('{"body":"open"}')`);
    const { rows } = await holder.query<{ pid: number }>('select pg_backend_pid() as pid');
    const migrating = app.start(['migrate']);
    await migrating.logs(new RegExp(`waiting for a lock on table notes, held by process ${rows[0]?.pid} `));
    const writer = await app.connect();
    await writer.query(`set lock_timeout = '10s'`);
    await writer.query(`insert into notes (data) values ('{"body":"not queued"}')`);
    await holder.query('commit');
    expect(await migrating.ended).toBe(0);
    expect(await app.query(`select 1 from pg_trigger where tgname = '_convoy_update'`)).toHaveLength(1);
  });

  test('writes constant defaults into documents that lack them with --backfill', async () => {
    await migrate();
    await app.query(
      `insert into notes (data) select jsonb_build_object('body', 'n' || n, 'extra', n) from generate_series(1, 450) as n`,
    );
    await app.query(`insert into notes (data) values ('{"body": 5}'), ('{"body": "has one", "likes": 7}')`);
    await withTable(
      `defineTable({ body: z.string(), likes: z.number().default(0), at: z.number().default(() => Date.now()).optional() }).index('by_body', ['body'])`,
    );
    const done = await migrate('--backfill', '--json');
    expect(JSON.parse(done.stdout)).toMatchObject({
      ok: true,
      backfill: [{ table: 'notes', documents: 452, written: 450, unfit: 1 }],
    });
    const likes = await app.query(
      `select data->'likes' as likes, count(*)::int as documents, bool_or(data ? 'at') as at, count(data->'extra')::int as extra
       from notes group by 1 order by 2 desc`,
    );
    expect(likes).toEqual([
      { likes: 0, documents: 450, at: false, extra: 450 },
      { likes: null, documents: 1, at: false, extra: 0 },
      { likes: 7, documents: 1, at: false, extra: 0 },
    ]);
    const again = JSON.parse((await migrate('--backfill', '--json')).stdout) as { backfill: unknown };
    expect(again.backfill).toEqual([{ table: 'notes', documents: 452, written: 0, unfit: 1 }]);
  });

  test('only writes the generated files with --skip-db', async () => {
    const done = await app.run(['migrate', '--skip-db'], { env: { DATABASE_URL: 'postgres://nowhere.invalid/x' } });
    expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining('Wrote') });
    await access(join(app.root, 'convoy/_generated/api.ts'));
  });

  test('continues where a killed migration stopped', async () => {
    await migrate();
    await insert('a');
    const writer = await app.connect();
    await writer.query('begin');
    await writer.query(`update notes set data = data`);
    await withTable(
      `defineTable({ body: z.string(), age: z.number().optional() }).index('by_age', ['age']).index('by_body', ['body'])`,
    );
    const killed = app.start(['migrate']);
    await killed.logs(/waiting for writers/);
    killed.process.kill('SIGKILL');
    await killed.ended;
    await writer.query('rollback');
    expect((await migrate()).code).toBe(0);
    expect(await app.query('select 1 from pg_index where not indisvalid')).toEqual([]);
    expect(JSON.parse((await migrate('--json')).stdout)).toMatchObject({ plan: [] });
  });
});
