/** `convoy check` with the real program and database. */
import { describe, expect, it } from 'vitest';
import { type CommandProject, eachWithProject } from './project.js';

let project: CommandProject;
eachWithProject((opened) => {
  project = opened;
});

interface Finding {
  readonly kind: string;
  readonly subject: string;
  readonly message: string;
  readonly remedy: string | null;
}

/** The kinds and subjects of the problems, sorted. */
function named(problems: readonly Finding[]): string[] {
  return problems.map(({ kind, subject }) => `${kind} ${subject}`).sort();
}

describe('convoy check', () => {
  it('finds nothing in a database that was just synced', async () => {
    const { code, output } = await project.run('check');
    expect(output).toContain('The database matches the schema');
    expect(code).toBe(0);
  });

  it('reports every kind of drift, changes nothing, and exits with 1', async () => {
    const { rows } = await project.sql.query(
      `select indexname from pg_indexes where tablename = 'channels' and indexname like 'convoy_channels_by_name%'`,
    );
    await project.sql.query(`drop index "${rows[0].indexname}"`);
    await project.sql.query('drop trigger _convoy_update on channels');
    await project.sql.query('alter table messages disable trigger _convoy_delete');
    await project.sql.query('alter table messages drop column created_at cascade');
    await project.sql.query('drop table _convoy.lane_3');
    await project.sql.query(
      `create or replace function _convoy.log_insert() returns trigger language plpgsql as $$ begin return null; end $$`,
    );
    await project.sql.query('create unique index convoy_channels_other_0123456789abcdef on channels (id, created_at)');
    for (let run = 0; run < 2; run++) {
      const { code, report } = await project.json('check');
      expect(named(report.problems)).toEqual([
        'changed-function log_insert',
        'disabled-trigger messages',
        'missing-column messages',
        'missing-index channels.by_name',
        'missing-index messages.by_channel',
        'missing-index messages.by_creation_time',
        'missing-part table lane_3',
        'missing-trigger channels',
        'other-unique-index channels',
      ]);
      expect(code).toBe(1);
    }
    const missing = await project.run('check');
    expect(missing.output).toContain('to solve it: npx convoy migrate');
  });

  it('reports a table that does not exist, and one that the schema does not have', async () => {
    await project.sql.query('drop table messages');
    await project.project.write({
      'convoy/schema.ts': `import { defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';
export default defineSchema({ messages: defineTable({ body: z.string() }) });
`,
    });
    const { code, report } = await project.json('check');
    expect(named(report.problems)).toEqual(['missing-table messages']);
    expect(report.notes.map(({ message }: Finding) => message)).toEqual([
      'table channels is not in the schema any more',
    ]);
    expect(code).toBe(1);
  });

  it('reports documents that do not fit, and counts those that a default fills', async () => {
    await project.sql.query(
      `insert into messages (data) select jsonb_build_object('body', 'x') from generate_series(1, 30)`,
    );
    await project.sql.query(
      `insert into messages (data) values ('{"body":1,"likes":1}'), ('{"body":"a","likes":"b"}')`,
    );
    await project.sql.query(`insert into messages (data) values ('{"body":"a","likes":1,"older":true}')`);
    const { code, report } = await project.json('check');
    expect(report.problems).toEqual([]);
    expect(report.documents).toMatchObject([
      { table: 'channels', documents: 0 },
      {
        table: 'messages',
        documents: 33,
        isWhole: true,
        unfit: 2,
        withoutDefaults: 30,
        forgotten: [{ path: 'older' }],
      },
    ]);
    expect(code).toBe(1);
    const text = await project.run('check');
    expect(text.output).toMatch(/messages: 2 of 33 stored documents do not fit the schema/);
    expect(text.output).toMatch(/messages: 30 documents lack a field that a default fills/);
  });

  it('samples a large table, and checks all of it with --all', async () => {
    await project.sql.query(
      `insert into messages (data) select jsonb_build_object('body', 'x', 'likes', 1) from generate_series(1, 25000)`,
    );
    await project.sql.query(`insert into messages (data) values ('{"body":1,"likes":1}')`);
    await project.sql.query('analyze messages');
    const sampled = await project.json('check');
    expect(sampled.report.documents[1]).toMatchObject({ table: 'messages', documents: 10_000, isWhole: false });
    const all = await project.json('check', '--all');
    expect(all.report.documents[1]).toMatchObject({ table: 'messages', documents: 25_001, isWhole: true, unfit: 1 });
    expect(all.code).toBe(1);
  });

  it('notes a large table that is read as a whole, and an index that nothing uses', async () => {
    await project.sql.query(
      `insert into messages (data) select jsonb_build_object('body', 'x', 'likes', 1) from generate_series(1, 12000)`,
    );
    await project.sql.query('analyze messages');
    for (let n = 0; n < 120; n++) await project.sql.query(`select count(*) from messages where data->>'body' = 'y'`);
    // Sessions report what they have read now and then.
    const reported = `select from pg_stat_user_tables where relname = 'messages' and seq_scan >= 120`;
    await expect.poll(async () => (await project.sql.query(reported)).rowCount, { timeout: 60_000 }).toBe(1);
    const { code, report } = await project.json('check');
    expect(named(report.notes)).toEqual(['missing-index messages', 'unused-index messages.by_channel']);
    expect(code).toBe(0);
  });

  it('names the privilege that the role lacks, with its GRANT', async () => {
    const role = `reader_${Date.now()}`;
    await project.sql.query(`create role ${role} login password 'x'`);
    try {
      await project.sql.query(`grant select on messages to ${role}; grant usage on schema _convoy to ${role}`);
      const url = Object.assign(new URL(project.databaseUrl), { username: role, password: 'x' }).href;
      const running = project.start(['check', '--json'], { DATABASE_URL: url });
      expect(await running.ended).toBe(1);
      expect(running.output).toContain(`grant insert, update, delete on table public.messages to ${role}`);
      expect(running.output).toContain(`grant select, insert, update, delete on table public.channels to ${role}`);
    } finally {
      await project.sql.query(`drop owned by ${role}`);
      await project.sql.query(`drop role ${role}`);
    }
  });
});
