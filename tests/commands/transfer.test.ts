/** `convoy export` and `convoy import` with the real program and database. */
import { once } from 'node:events';
import { existsSync, watch } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type CommandProject, contentOf, linesOf, makeProgram, openProject, type Program } from './project.js';
import { zipOf } from './zip.js';

let program: Program;
let from: CommandProject;
let to: CommandProject;
beforeAll(async () => {
  program = await makeProgram();
  [from, to] = await Promise.all([openProject(program), openProject(program)]);
});
afterAll(async () => {
  await Promise.all([from.close(), to.close()]);
  await program.remove();
});
beforeEach(async () => {
  for (const { sql, folder } of [from, to]) {
    await sql.query('truncate channels, messages');
    for (const name of await readdir(folder)) await rm(path.join(folder, name), { recursive: true });
  }
});

/** Fills the tables with documents that are easily damaged on their way. */
async function fill(messages: number): Promise<void> {
  await from.sql.query(
    `insert into channels (data) select jsonb_build_object('name', 'c' || n) from generate_series(1, 3) n`,
  );
  await from.sql.query(
    `insert into messages (created_at, updated_at, data)
     select '2001-01-01 00:00:00.000001+00'::timestamptz + n * interval '1 second', now(),
       jsonb_build_object('body', E'ü "quoted" \\\\ back\\nline ' || n, 'likes', n, 'big', 12345678901234567890, 'extra', null)
     from generate_series(1, $1) n`,
    [messages],
  );
  await from.sql.query(`insert into messages (created_at, data) values ('infinity', '{"body":"forever","likes":1}')`);
}

async function expectEqual(): Promise<void> {
  for (const table of ['channels', 'messages']) {
    expect(await contentOf(to.sql, table)).toBe(await contentOf(from.sql, table));
  }
}

describe('an export', () => {
  it.each(['backup', 'backup.tar'])('to %s is imported with ids, times and every digit', async (name) => {
    await fill(5_000);
    const archive = path.join(from.folder, name);
    const exported = await from.json('export', archive);
    expect(exported).toMatchObject({ code: 0, report: { resumed: false, leftOut: [] } });
    expect(exported.report.tables.map((each: { table: string }) => each.table)).toEqual(['channels', 'messages']);
    expect(await readdir(from.folder)).toEqual([name]);
    const imported = await to.json('import', archive);
    expect(imported).toMatchObject({
      code: 0,
      report: {
        rejectsFile: null,
        ignored: [],
        tables: [{ written: 3 }, { lines: 5_001, written: 5_001, rejected: 0 }],
      },
    });
    await expectEqual();
    const again = await to.json('import', archive);
    expect(again).toMatchObject({ code: 0, report: { tables: [{ unchanged: 3 }, { written: 0, unchanged: 5_001 }] } });
    await expectEqual();
  });

  it('continues after it was killed within a table', async () => {
    await fill(5_000);
    const whole = path.join(from.folder, 'whole');
    await from.run('export', whole);
    const archive = path.join(from.folder, 'backup');
    const partial = path.join(archive, 'messages.jsonl.partial');
    await mkdir(archive);
    const appeared = appears(archive, path.basename(partial));
    const running = from.start(['export', archive]);
    await appeared;
    running.process.kill('SIGKILL');
    await running.ended;
    // However far it came: the manifest of an export that wrote one table and was within the next.
    const manifest = JSON.parse(await readFile(path.join(whole, 'manifest.json'), 'utf8'));
    manifest.tables[1].content = null;
    await writeFile(path.join(archive, 'manifest.json'), JSON.stringify({ ...manifest, complete: false }));
    await rm(path.join(archive, 'messages.jsonl'), { force: true });
    // The lines written by then, with the half of a line at its end.
    const lines = await linesOf(path.join(whole, 'messages.jsonl'));
    await writeFile(partial, `${lines.slice(0, 1_000).join('\n')}\n${lines[1_000]?.slice(0, 50)}`);
    const incomplete = await to.run('import', archive);
    expect(incomplete).toMatchObject({ code: 1, output: expect.stringContaining('interrupted export') });
    const others = await from.run('export', archive, '--tables', 'messages');
    expect(others).toMatchObject({ code: 1, output: expect.stringContaining('interrupted export of other tables') });

    const exported = await from.json('export', archive);
    expect(exported).toMatchObject({ code: 0, report: { resumed: true } });
    expect(await linesOf(path.join(archive, 'messages.jsonl'))).toEqual(lines);
    expect((await to.json('import', archive)).code).toBe(0);
    await expectEqual();
  });

  it('is not replaced without --force, and other files never', async () => {
    await fill(1);
    const archive = path.join(from.folder, 'backup');
    expect((await from.run('export', archive)).code).toBe(0);
    expect(await from.run('export', archive)).toMatchObject({ code: 1, output: expect.stringContaining('--force') });
    expect((await from.run('export', archive, '--force', '--tables', 'channels')).code).toBe(0);
    expect((await readdir(archive)).sort()).toEqual(['channels.jsonl', 'manifest.json']);
    expect(await from.run('export', from.project.root)).toMatchObject({
      code: 1,
      output: expect.stringContaining('not empty and holds no export'),
    });
    const unknown = await from.json('export', path.join(from.folder, 'other'), '--tables', 'mesages');
    expect(unknown).toMatchObject({
      code: 1,
      report: { error: { message: expect.stringContaining('`mesages`; it has') } },
    });
  });

  it('that was damaged is refused before anything is written', async () => {
    await fill(10);
    const archive = path.join(from.folder, 'backup');
    await from.run('export', archive);
    const file = path.join(archive, 'messages.jsonl');
    await writeFile(file, (await readFile(file, 'utf8')).replace('quoted', 'Quoted'));
    const { code, output } = await to.run('import', archive);
    expect(output).toMatch(/messages\.jsonl is damaged: .* checksum .*Nothing was imported/s);
    expect(code).toBe(1);
    expect(await contentOf(to.sql, 'channels')).toBe('[]');
  });
});

describe('an import', () => {
  it('continues after it was killed, without a document twice or lost', async () => {
    await fill(60_000);
    const archive = path.join(from.folder, 'backup.tar');
    await from.run('export', archive);
    const running = to.start(['import', archive]);
    let stored = 0;
    while (stored === 0) {
      const { rows } = await to.sql.query('select count(*)::int as count from (select 1 from messages limit 1) as m');
      stored = rows[0].count;
    }
    running.process.kill('SIGKILL');
    expect(await running.ended).toBe('SIGKILL');
    const { report } = await to.json('import', archive);
    const [, messages] = report.tables;
    expect(messages.unchanged).toBeGreaterThan(0);
    expect(messages.written).toBeGreaterThan(0);
    expect(messages.unchanged + messages.written).toBe(60_001);
    await expectEqual();
  });

  it('stores what fits, and reports and keeps every other line', async () => {
    const folder = path.join(to.folder, 'data');
    await mkdir(folder);
    const id = 'messages:0190163d-8694-739b-aea5-966c26f8ad91';
    await to.sql.query(`insert into messages (id, data) values ('${id.slice(9)}', '{"body":"mine","likes":0}')`);
    const lines = [
      '{"body":"fits","likes":3}',
      '{"body":5}',
      '{"body":',
      `{"id":"${id}","body":"other"}`,
      '{"id":"channels:0190163d-8694-739b-aea5-966c26f8ad92","body":"wrong table"}',
      '{"body":"nul \\u0000"}',
      '{"id":"messages:0190163d-8694-739b-aea5-966c26f8ad93","_creationTime":946684800000.25,"body":"first"}',
      '{"id":"messages:0190163d-8694-739b-aea5-966c26f8ad93","body":"second"}',
      '{"body":"fits","likes":3}',
    ];
    await writeFile(path.join(folder, 'messages.jsonl'), `${lines.join('\n')}\n\n`);
    await writeFile(path.join(folder, 'channels.jsonl'), '{"name":"one"}\n{"name":"two"}\n{"name":"one"}');

    const dry = await to.json('import', folder, '--dry-run');
    expect(dry.report.tables[1]).toMatchObject({ lines: 9, rejected: 3 });
    expect((await to.sql.query('select 1 from channels')).rowCount).toBe(0);

    const { code, report } = await to.json('import', folder);
    expect(code).toBe(1);
    expect(report.tables).toEqual([
      { table: 'channels', lines: 3, written: 2, unchanged: 0, rejected: 1 },
      { table: 'messages', lines: 9, written: 3, unchanged: 0, rejected: 6 },
    ]);
    const reasons = report.rejected.map(
      ({ file, line, reason }: Record<string, string>) => `${file}:${line}: ${reason}`,
    );
    expect(reasons).toEqual([
      'channels.jsonl:3: a unique index has another document with the same values',
      expect.stringMatching(/^messages.jsonl:2: body: .*expected string/),
      expect.stringMatching(/^messages.jsonl:3: it is not a valid line/),
      'messages.jsonl:4: another document with this id exists; --replace overwrites it',
      expect.stringMatching(/^messages.jsonl:5: .* is not an id of messages/),
      expect.stringMatching(/^messages.jsonl:6: Postgres refuses it: .*\(22P05\)/),
      'messages.jsonl:8: another document with this id exists; --replace overwrites it',
    ]);
    const kept = (await linesOf(report.rejectsFile)).map((line) => JSON.parse(line).text);
    expect(kept).toEqual(['{"name":"one"}', ...[1, 2, 3, 4, 5, 7].map((at) => lines[at])]);
    const { rows } = await to.sql.query(
      `select created_at = '2000-01-01 00:00:00.00025+00' as kept from messages where data->>'body' = 'first'`,
    );
    expect(rows).toEqual([{ kept: true }]);

    // The ids of documents without one are the same each time.
    const again = await to.json('import', folder, '--replace');
    expect(again.report.tables[1]).toMatchObject({ written: 2, unchanged: 3, rejected: 4 });
    const replaced = await to.sql.query(`select data->>'body' as body from messages where id = '${id.slice(9)}'`);
    expect(replaced.rows).toEqual([{ body: 'other' }]);
  });

  it('of tables that the schema or the database lacks is refused', async () => {
    const folder = path.join(to.folder, 'data');
    await mkdir(folder);
    await writeFile(path.join(folder, 'people.jsonl'), '{}\n');
    await writeFile(path.join(folder, 'channels.jsonl'), '{"name":"one"}\n');
    expect(await to.run('import', folder)).toMatchObject({
      code: 1,
      output: expect.stringContaining('not in the schema: people; nothing was imported'),
    });
    expect((await to.run('import', folder, '--tables', 'channels')).code).toBe(0);
    await to.sql.query('alter table channels rename to away');
    const without = await to.run('import', folder, '--tables', 'channels');
    await to.sql.query('alter table away rename to channels');
    expect(without).toMatchObject({ code: 1, output: expect.stringContaining('does not have the tables channels') });
    expect(await to.run('import', path.join(to.folder, 'nowhere'))).toMatchObject({
      code: 1,
      output: expect.stringContaining('nowhere cannot be read: No such file'),
    });
    expect(await to.run('import', path.join(to.project.root, 'package.json'))).toMatchObject({
      code: 1,
      output: expect.stringContaining('neither a folder, nor a tar or zip file'),
    });
  });

  it('shows the documents to live queries of a running server', async () => {
    await fill(3_000);
    const archive = path.join(from.folder, 'backup');
    await from.run('export', archive);
    await to.project.write({
      'convoy/functions/messages.ts': `import { query } from '../_generated/server';
export const total = query({ handler: async (ctx) => ctx.db.query('messages').count() });
`,
    });
    const server = to.start(['dev', '--port', '0']);
    const api = (await server.prints(/Server +(\S+)/))[1] ?? '';
    const stream = await fetch(`${api}/subscribe?name=messages.total&args={}`);
    const frames: string[] = [];
    const reader = stream.body?.pipeThrough(new TextDecoderStream()).getReader();
    const until = async (text: string) => {
      while (!frames.join('').includes(text)) frames.push((await reader?.read())?.value ?? '');
    };
    await until('"data":0');
    expect((await to.json('import', archive)).code).toBe(0);
    await until('"data":3001');
    server.process.kill('SIGKILL');
    await server.ended;
  });
});

describe("Convex's export", () => {
  const user = 'jd7f9q2v5n8x1m4k6p3r0t2w9y5b8c1d';
  const message = 'k57b9q2v5n8x1m4k6p3r0t2w9y5b8c1d';

  it('gets new ids, a mapping, and references that follow it', async () => {
    const folder = path.join(to.folder, 'snapshot');
    for (const table of ['_tables', '_storage', 'channels', 'messages'])
      await mkdir(path.join(folder, table), { recursive: true });
    await writeFile(path.join(folder, '_tables/documents.jsonl'), '{"name":"channels","id":10001}\n');
    await writeFile(path.join(folder, '_storage/documents.jsonl'), '');
    await writeFile(
      path.join(folder, 'channels/documents.jsonl'),
      `{"_creationTime":1700000000000.5,"_id":"${user}","name":"general"}\n`,
    );
    await writeFile(
      path.join(folder, 'messages/documents.jsonl'),
      `{"_creationTime":1700000000001,"_id":"${message}","body":"not ${user}","channelId":"${user}","by":{"${message}":["${user}","jd7f9q2v5n8x1m4k6p3r0t2w9y5b8c1e"]},"likes":1.0}\n`,
    );
    const first = await to.json('import', folder);
    expect(first).toMatchObject({ code: 0, report: { tables: [{ written: 1 }, { written: 1 }] } });
    expect(first.report.ignored).toContain('_tables/documents.jsonl');
    const mapping = (await linesOf(first.report.idsFile)).map((line) => JSON.parse(line) as Record<string, string>);
    const newId = (old: string) => mapping.find((each) => each.from === old)?.to ?? '';
    expect(mapping.map(({ table }) => table)).toEqual(['channels', 'messages']);
    const { rows } = await to.sql.query('select id, data, extract(epoch from created_at) * 1000 as ms from messages');
    expect(rows).toEqual([
      {
        id: newId(message).slice('messages:'.length),
        data: {
          body: `not ${user}`,
          channelId: newId(user),
          by: { [newId(message)]: [newId(user), 'jd7f9q2v5n8x1m4k6p3r0t2w9y5b8c1e'] },
          likes: 1,
        },
        ms: expect.stringMatching(/^1700000000001\.0+$/),
      },
    ]);
    const again = await to.json('import', folder);
    expect(again).toMatchObject({ code: 0, report: { tables: [{ unchanged: 1 }, { unchanged: 1 }] } });
  });

  it('is read from a zip file', async () => {
    const zip = path.join(to.folder, 'snapshot.zip');
    await writeFile(
      zip,
      zipOf({ 'channels/documents.jsonl': `{"_creationTime":1,"_id":"${user}","name":"general"}\n` }),
    );
    expect(await to.json('import', zip)).toMatchObject({
      code: 0,
      report: { tables: [{ table: 'channels', written: 1 }] },
    });
  });
});

/** Resolves once the folder has a file of this name. */
async function appears(folder: string, name: string): Promise<void> {
  const watcher = watch(folder);
  while (!existsSync(path.join(folder, name))) await once(watcher, 'change');
  watcher.close();
}
