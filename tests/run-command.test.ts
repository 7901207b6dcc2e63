/** `convoy run`: results on standard output, everything else on standard error. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CommandLine, noteFunctions, notes } from './command-line.js';

let app: CommandLine;
beforeAll(async () => {
  app = await CommandLine.create({
    'convoy/schema.ts': notes,
    'convoy/functions/notes.ts': noteFunctions,
    'convoy/server.ts': `export const createContext = (_req: unknown, base: object) => ({ ...base, user: 'nobody in particular' });`,
  });
  expect((await app.run(['migrate'])).code).toBe(0);
});
afterAll(() => app.remove());

const run = (...args: string[]) => app.run(['run', ...args]);

describe('convoy run', () => {
  test('prints the result as JSON, and nothing else, on standard output', async () => {
    const added = await run('notes.add', '{"body":"from an argument"}');
    expect(added).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(added.stdout)).toMatch(/^notes:/);
    const piped = await app.run(['run', 'api.notes.add', '-'], { input: '{ "body": "from standard input" }' });
    expect(piped.code).toBe(0);
    const listed = await run('notes.list');
    expect(JSON.parse(listed.stdout)).toEqual(['from an argument', 'from standard input']);
    expect(listed.stderr).toContain('this is printed');
  });

  test('calls internal functions', async () => {
    expect(Number((await run('internal.notes.count')).stdout)).toBeGreaterThanOrEqual(0);
  });

  test('takes the context from createContext, or from --context', async () => {
    expect((await run('notes.whoami')).stdout).toBe('"nobody in particular"\n');
    expect((await run('notes.whoami', '--context', '{"user":"ada"}')).stdout).toBe('"ada"\n');
  });

  test('makes ctx.auth of the auth in --context', async () => {
    expect((await run('notes.member', '--context', '{"auth":{"user":{"id":"u1"}}}')).stdout).toBe('"u1"\n');
    expect((await run('notes.member', '--context', '{"auth":{"user":null}}')).stderr).toContain('UNAUTHORIZED');
    expect((await run('notes.member')).stderr).toContain('needs `ctx.auth`');
  });

  test('exits with 1 for an error of the function, with its code, message and details', async () => {
    const refused = await run('notes.refuse');
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('FORBIDDEN: not today');
    expect(refused.stderr).toContain('"until": "tomorrow"');
    const json = await run('notes.refuse', '--json');
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stdout)).toEqual({
      ok: false,
      error: { code: 'FORBIDDEN', message: 'not today', details: { until: 'tomorrow' } },
    });
    expect((await run('notes.crash')).stderr).toMatch(/INTERNAL: .*unexpected/);
    const invalid = await run('notes.add', '{"body":1}');
    expect(invalid.code).toBe(1);
    expect(invalid.stderr).toContain('"path": [');
    expect(JSON.parse((await run('notes.whoami', '--json')).stdout)).toEqual({
      ok: true,
      data: 'nobody in particular',
    });
  });

  test.each([
    ['Did you mean notes.list?', ['notes.lst']],
    ['The input is not JSON', ['notes.add', '{body}']],
    ['--context is not JSON', ['notes.whoami', '--context', 'ada']],
    ['notes.add is a mutation; --watch follows', ['notes.add', '{}', '--watch']],
  ])('exits with 1: %s', async (message, args) => {
    const failed = await run(...args);
    expect(failed).toMatchObject({ code: 1, stdout: '' });
    expect(failed.stderr).toContain(message);
  });

  test('changes no database that DATABASE_URL names', async () => {
    const before = await app.catalog();
    await app.write({
      'convoy/schema.ts': notes.replace(
        "index('by_body'",
        "index('by_both', ['body', '_creationTime']).index('by_body'",
      ),
    });
    const failed = await run('notes.list');
    await app.write({ 'convoy/schema.ts': notes });
    expect(failed.code).toBe(1);
    expect(failed.stderr).toMatch(/index notes\.by_both is missing; run `convoy migrate`/);
    expect(await app.catalog()).toBe(before);
  });

  test.each(['notes.list', 'notes.count'])(
    'prints each new result of %s with --watch, until a signal',
    async (name) => {
      const watching = app.start(['run', name, '--watch']);
      const [first] = await watching.prints(/^.+\n/);
      const client = await app.connect();
      await client.query(`insert into notes (data) values ('{"body":"z from psql"}')`);
      const [second] = await watching.prints(/^.+\n/);
      expect(second).not.toBe(first);
      if (name === 'notes.list') expect((JSON.parse(second) as string[]).at(-1)).toBe('z from psql');
      else expect(Number(second)).toBe(Number(first) + 1);
      watching.process.kill('SIGINT');
      expect(await watching.ended).toBe(130);
      expect(watching.stdout.trimEnd().split('\n')).toHaveLength(2);
    },
  );
});
