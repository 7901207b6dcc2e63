/** `convoy start` with `static`: a built front end and the API on one port. */
import { mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CommandLine, call, noteFunctions, notes } from './command-line.js';

const PAGE = '<!doctype html><title>Notes</title>';

let app: CommandLine;
beforeAll(async () => {
  app = await CommandLine.create({
    'convoy/schema.ts': notes,
    'convoy/functions/notes.ts': noteFunctions,
    'convoy.config.ts': "export default { static: './dist' };",
    'dist/index.html': PAGE,
    'dist/assets/index-BwWc4b6K.js': 'export const notes = [];\n'.repeat(100),
  });
  expect((await app.run(['migrate'])).code).toBe(0);
  expect((await app.run(['build'])).code).toBe(0);
});
afterAll(() => app.remove());

test('the setting is a folder of the project, and the flag another one', async () => {
  const { server, url } = await app.serve();
  expect(server.stdout).toContain('/api and the files in ./dist (');
  const { origin } = new URL(url);
  const page = await fetch(`${origin}/rooms/7`, { headers: { accept: 'text/html' } });
  expect([page.status, await page.text(), page.headers.get('cache-control')]).toEqual([200, PAGE, 'no-cache']);
  expect(await call(`${origin}/api`, 'query/notes.list')).toEqual({ ok: true, data: [] });
  const unknown = await fetch(`${origin}/api/rooms`, { headers: { accept: 'text/html' } });
  expect([unknown.status, (await unknown.json()).error.code]).toEqual([404, 'NOT_FOUND']);
  await app.write({ 'site/index.html': 'another' });
  const other = await app.serve({}, '--static', 'site');
  expect(await (await fetch(new URL(other.url).origin)).text()).toBe('another');
});

test('a folder that is missing or empty is an error that says what to do', async () => {
  const missing = await app.run(['start', '--port', '0', '--static', 'build/client']);
  expect(missing.code).toBe(1);
  expect(missing.stdout).toContain(`There is no folder ${join(app.root, 'build/client')} to serve static files from`);
  expect(missing.stdout).toContain('vite build');
  await mkdir(join(app.root, 'empty'));
  const empty = await app.run(['start', '--port', '0', '--static', 'empty', '--json']);
  expect(JSON.parse(empty.stdout)).toMatchObject({
    ok: false,
    error: { message: expect.stringContaining('is empty') },
  });
});

test('links out of the folder are not followed, and the log says so', async () => {
  const link = join(app.root, 'dist/secret.txt');
  await symlink(join(app.root, 'convoy.config.ts'), link);
  const { server, url } = await app.serve();
  expect((await fetch(new URL('/secret.txt', url))).status).toBe(404);
  await server.logs(/1 symbolic links among the static files are not served, such as secret\.txt/);
  await rm(link);
});

test('convoy dev leaves the pages to the development server', async () => {
  const dev = app.start(['dev', '--no-types', '--port', '0']);
  const [address = ''] = await dev.prints(/http:\/\/[^\s/]+/);
  expect((await fetch(address, { headers: { accept: 'text/html' } })).status).toBe(404);
});

test('a setting that is not a folder is refused by name', async () => {
  await app.write({ 'convoy.config.ts': 'export default { static: true };' });
  const refused = await app.run(['build']);
  expect([refused.code, refused.stdout]).toEqual([
    1,
    expect.stringContaining("`static` is a folder, such as './dist'; true was given."),
  ]);
});
