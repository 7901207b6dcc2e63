/** `convoy seed` with the real program and database. */
import { describe, expect, it } from 'vitest';
import { type CommandProject, eachWithProject } from './project.js';

let project: CommandProject;
eachWithProject((opened) => {
  project = opened;
});

const seed = `import { names } from './names';

export default async (ctx) => {
  for (const name of names) {
    const channelId = await ctx.db.insert('channels', { name });
    await ctx.db.insert('messages', { channelId, body: 'Welcome to ' + name });
  }
};
`;

const countOf = async (table: string) => {
  return (await project.sql.query(`select count(*)::int as count from ${table}`)).rows[0].count as number;
};

describe('convoy seed', () => {
  it('runs convoy/seed.ts once, as a mutation, and refuses to run it over documents', async () => {
    await project.project.write({ 'convoy/seed.ts': seed, 'convoy/names.ts': `export const names = ['a', 'b'];` });
    const first = await project.run('seed');
    expect(first).toMatchObject({ code: 0, output: expect.stringContaining('Ran convoy/seed.ts') });
    expect([await countOf('channels'), await countOf('messages')]).toEqual([2, 2]);
    const second = await project.run('seed');
    expect(second).toMatchObject({
      code: 1,
      output: expect.stringMatching(/contains documents already \(in channels, messages\).*--force/),
    });
    expect(await countOf('messages')).toBe(2);
    // The index is unique: all or nothing.
    await project.project.write({ 'convoy/names.ts': `export const names = ['c', 'a'];` });
    expect((await project.run('seed', '--force')).code).toBe(1);
    expect(await countOf('channels')).toBe(2);
    await project.project.write({ 'convoy/names.ts': `export const names = ['c'];` });
    expect((await project.run('seed', '--force')).code).toBe(0);
    expect(await countOf('channels')).toBe(3);
  });

  it('validates as every write does, and shows the error of the seed', async () => {
    await project.project.write({
      'convoy/seed.ts': `export default async (ctx) => ctx.db.insert('channels', { name: 1 });`,
    });
    const { code, output } = await project.run('seed');
    expect(output).toMatch(/The document does not fit channels at name/);
    expect(code).toBe(1);
  });

  it('imports the files in convoy/seed/', async () => {
    await project.project.write({ 'convoy/seed/channels.jsonl': '{"name":"a"}\n{"name":"b"}\n' });
    expect(await project.json('seed')).toMatchObject({
      code: 0,
      report: { tables: [{ table: 'channels', written: 2 }] },
    });
    expect((await project.json('seed')).report.error.message).toContain('--force');
  });

  it('states what to write where there is nothing to seed from', async () => {
    const { code, output } = await project.run('seed');
    expect(output).toMatch(/no convoy\/seed\.ts, convoy\/seed\.js, convoy\/seed\. Write convoy\/seed\.ts/);
    expect(code).toBe(1);
    await project.project.write({ 'convoy/seed.ts': 'export const seed = 1;' });
    expect((await project.run('seed')).output).toContain('has no default-exported function');
  });
});
