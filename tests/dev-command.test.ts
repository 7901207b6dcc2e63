/** `convoy dev -- <command>`: a server of the developer's in place of Convoy's listener. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { CommandLine, noteFunctions, notes } from './command-line.js';

/** Prints its environment, and ends half a second after SIGTERM, as a server that finishes its calls. */
const server = `
setInterval(() => {}, 1_000);
process.once('SIGTERM', () => setTimeout(() => { console.log('server ended'); process.exit(7); }, 500));
console.log('server', process.argv[2], process.env.NODE_ENV, process.env.DATABASE_URL, process.cwd());
`;

let app: CommandLine;
beforeEach(async () => {
  app = await CommandLine.create({
    'convoy/schema.ts': notes,
    'convoy/functions/notes.ts': noteFunctions,
    'server.mjs': server,
  });
});
afterEach(() => app.remove());

const start = (...words: string[]) => app.start(['dev', '--no-types', '--', ...words]);

test('it has the database with its tables, current code, and ends with convoy dev', async () => {
  const dev = app.start(['dev', '--no-types', '--', 'node', 'server.mjs', '--port=1'], { env: { NODE_ENV: 'test' } });
  const [, url] = await dev.prints(/server --port=1 test (postgres:\S+)/);
  expect(url).toBe(app.databaseUrl);
  expect(await (await app.connect()).query('select * from notes')).toMatchObject({ rows: [] });
  expect(dev.stdout).not.toMatch(/http:/);
  await app.write({
    'convoy/functions/more.ts':
      "import { query } from '../_generated/server';\nexport const two = query({ handler: () => 2 });",
  });
  await dev.prints(/more\.ts changed: loaded in \d+ ms, wrote api\.ts/);
  expect(await readFile(join(app.root, 'convoy/_generated/api.ts'), 'utf8')).toContain('more');
  dev.process.kill('SIGTERM');
  await dev.prints(/server ended/);
  await dev.prints(/Stopped/);
  expect(await dev.ended).toBe(0);
});

test('its output comes last, and its exit code is that of convoy dev', async () => {
  const dev = start('node', '-e', 'console.log("address"); process.exit(3)');
  expect(await dev.ended).toBe(3);
  const lines = dev.stdout.trim().split('\n');
  expect(lines.slice(0, lines.indexOf('address')).join('\n')).toMatch(/Ready in.*Watching/s);
});

test('it starts again with another DATABASE_URL in .env', async () => {
  const other = freshDatabaseUrl();
  await app.write({ '.env': `DATABASE_URL=${app.databaseUrl}\n` });
  const dev = app.start(['dev', '--no-types', '--', 'node', 'server.mjs'], { env: { DATABASE_URL: undefined } });
  expect((await dev.prints(/server \S+ \S+ (postgres:\S+)/))[1]).toBe(app.databaseUrl);
  await writeFile(join(app.root, '.env'), `DATABASE_URL=${other}\n`);
  await dev.prints(/server ended/);
  expect((await dev.prints(/server \S+ \S+ (postgres:\S+)/))[1]).toBe(other);
  dev.process.kill('SIGTERM');
  await dev.prints(/server ended/);
});

test('errors of functions are shown beside it, and do not end it', async () => {
  const dev = start('node', 'server.mjs');
  await dev.prints(/server undefined/);
  await app.write({ 'convoy/functions/notes.ts': 'export const broken = (' });
  await dev.prints(/convoy\/functions\/notes\.ts:1:\d+/);
  await app.write({ 'convoy/functions/notes.ts': noteFunctions });
  await dev.prints(/Fixed/);
  dev.process.kill('SIGTERM');
  await dev.prints(/server ended/);
});

test.each([
  [['dev', '--', 'no-such-server'], /`no-such-server` could not be started: .*ENOENT/, 1],
  [['dev', 'next', 'dev'], /unexpected 'next'; to run a server of yours, write: convoy dev -- next dev/, 1],
  [['dev', '--once', '--', 'next'], /--once updates and exits: leave out the command after --, or --once\./, 1],
])('%j is refused with what to do', async (args, message, code) => {
  const result = await app.run(args);
  expect(result.stdout + result.stderr).toMatch(message);
  expect(result.code).toBe(code);
});
