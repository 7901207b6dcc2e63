/** `convoy build` and `convoy start`: the built folder, and the server that runs it. */
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CommandLine, call, installPackage, noteFunctions, notes } from './command-line.js';

let app: CommandLine;
beforeEach(async () => {
  app = await CommandLine.create({ 'convoy/schema.ts': notes, 'convoy/functions/notes.ts': noteFunctions });
});
afterEach(() => app.remove());

async function build(...flags: string[]) {
  const built = await app.run(['build', ...flags]);
  expect(built.stderr + built.stdout).toContain('Built');
  expect(built.code).toBe(0);
}

describe('convoy build', () => {
  test('writes a folder that needs only Node, the package and zod', async () => {
    await app.write({
      // A package of the kind that is hard to bundle: CommonJS, and it requires a module of Node.
      'node_modules/shout/package.json': '{ "name": "shout", "version": "1.0.0" }',
      'node_modules/shout/index.js': `const { EOL } = require('node:os');\nexports.shout = (text) => text.toUpperCase() + '!' + EOL.length;`,
      'node_modules/shout/index.d.ts': 'export function shout(text: string): string;',
      'convoy/functions/shouts.ts': `import { createRequire } from 'node:module';
import { shout } from 'shout';
import { query } from '../_generated/server';
const require = createRequire(import.meta.url);
export const hi = query({ handler: () => shout('hi ' + require('node:path').sep) });`,
    });
    await build();
    const elsewhere = await mkdtemp(join(tmpdir(), 'convoy-built-'));
    try {
      await installPackage(elsewhere);
      await cp(join(app.root, 'convoy-build'), join(elsewhere, 'convoy-build'), { recursive: true });
      expect((await app.run(['migrate'], { cwd: elsewhere })).code).toBe(0);
      const { url } = await app.serve({ cwd: elsewhere });
      expect(await call(url, 'query/shouts.hi')).toEqual({ ok: true, data: 'HI /!1' });
      expect(await call(url, 'mutation/notes.add', { body: 'a' })).toMatchObject({ ok: true });
      expect(await call(url, 'query/notes.list')).toEqual({ ok: true, data: ['a'] });
      expect(await call(url, 'query/notes.count')).toMatchObject({ ok: false, error: { code: 'NOT_FOUND' } });
    } finally {
      await rm(elsewhere, { recursive: true });
    }
  });

  test('writes the same bytes for the same sources, wherever they are', async () => {
    const config = `import { defineConfig } from '@avvos/convoy/node';\nexport default defineConfig({ poolSize: 3 });\n`;
    const files = { 'convoy/schema.ts': notes, 'convoy/functions/notes.ts': noteFunctions, 'convoy.config.ts': config };
    await app.write(files);
    const other = await CommandLine.create(files);
    try {
      await build();
      await build();
      expect((await other.run(['build'])).code).toBe(0);
      const [first, second] = await Promise.all([app, other].map(({ root }) => contents(join(root, 'convoy-build'))));
      expect(Object.keys(first ?? {}).sort()).toEqual([
        '.gitignore',
        'code.mjs',
        'code.mjs.map',
        'config.mjs',
        'manifest.json',
        'program.mjs',
      ]);
      expect(second).toEqual(first);
      expect(first?.['code.mjs.map']).toContain('convoy/functions/notes.ts');
      expect(JSON.stringify(first)).not.toContain(app.root);
    } finally {
      await other.remove();
    }
  });

  test('reports errors with their location, and keeps the last build', async () => {
    await build();
    const before = await contents(join(app.root, 'convoy-build'));
    await app.write({
      'convoy/functions/bad.ts': `import { query } from '../_generated/server';\nthrow new Error('at load');`,
    });
    const failed = await app.run(['build']);
    expect(failed.code).toBe(1);
    expect(failed.stdout).toContain('convoy/functions/bad.ts:2:');
    expect(await contents(join(app.root, 'convoy-build'))).toEqual(before);
    expect((await readdir(app.root)).filter((name) => name.includes('.new-'))).toEqual([]);
  });

  test('names the package whose native addon cannot be bundled, and leaves it out if told so', async () => {
    await app.write({
      'node_modules/fast/package.json': '{ "name": "fast", "main": "index.js" }',
      'node_modules/fast/index.js': `try { module.exports = require('./fast.node'); } catch { exports.slow = true; }`,
      'node_modules/fast/fast.node': 'not a library',
      'convoy/functions/fast.ts': `// @ts-nocheck
import fast from 'fast';
import { query } from '../_generated/server';
export const isSlow = query({ handler: () => fast.slow });`,
    });
    const failed = await app.run(['build']);
    expect(failed.code).toBe(1);
    expect(failed.stdout).toMatch(/The package fast has a native addon.*build\.external in convoy\.config\.ts/s);
    await app.write({ 'convoy.config.ts': `export default { build: { external: ['fast'], outDir: 'out' } };` });
    const built = await app.run(['build', '--json']);
    expect(JSON.parse(built.stdout)).toMatchObject({
      ok: true,
      folder: join(app.root, 'out'),
      external: ['@avvos/convoy', 'fast', 'zod'],
    });
  });

  test('replaces no folder that it did not write', async () => {
    await app.write({ 'dist/index.html': 'mine' });
    const refused = await app.run(['build', '--out', 'dist', '--json']);
    expect(refused.code).toBe(1);
    expect(JSON.parse(refused.stdout)).toMatchObject({
      ok: false,
      error: { message: expect.stringContaining('--out') },
    });
    expect(await readFile(join(app.root, 'dist/index.html'), 'utf8')).toBe('mine');
    await mkdir(join(app.root, 'empty'));
    await build('--out', 'empty');
  });

  test('rejects unknown settings with the closest one, and wrong values', async () => {
    await app.write({ 'convoy.config.ts': 'export default { poolsize: 3 };' });
    const failed = await app.run(['build']);
    expect(failed.code).toBe(1);
    expect(failed.stdout).toContain('convoy.config.ts: there is no setting poolsize. Did you mean poolSize?');
    await app.write({ 'convoy.config.ts': `export default { rateLimit: { per: 'address', tokens: 0 } };` });
    expect((await app.run(['build'])).stdout).toContain('convoy.config.ts: `rateLimit.tokens` is a whole number');
  });
});

describe('convoy start', () => {
  test('refuses a database that lacks something, with the command, and changes nothing', async () => {
    await build('--out', 'out');
    const missing = await app.run(['start', '--build', 'out']);
    expect(missing.code).toBe(1);
    expect(missing.stdout).toContain('does not exist');
    await app.run(['migrate']);
    await app.write({
      'convoy/schema.ts': notes.replace("['body'])", "['body']).index('by_age', ['_creationTime', 'body'])"),
    });
    await build('--out', 'out');
    const before = await app.catalog();
    const refused = await app.run(['start', '--build', 'out', '--port', '0']);
    expect(refused.code).toBe(1);
    expect(refused.stdout).toContain('index notes.by_age');
    expect(refused.stdout).toContain('Run this first: npx convoy migrate --build out');
    expect(await app.catalog()).toBe(before);
    await app.run(['migrate', '--build', 'out']);
    const after = await app.catalog();
    const { server } = await app.serve({}, '--build', 'out');
    server.process.kill('SIGTERM');
    expect(await server.ended).toBe(0);
    expect(await app.catalog()).toBe(after);
  });

  test('needs no right to create anything', async () => {
    await build();
    await app.run(['migrate']);
    const owner = await app.connect();
    const role = `convoy_app_${process.pid}`;
    await owner.query(`create role ${role} login password 'secret'`);
    try {
      await owner.query(`
        revoke create on schema public from public;
        grant usage on schema public, _convoy to ${role};
        grant select, insert, update, delete on all tables in schema public, _convoy to ${role}`);
      const url = Object.assign(new URL(app.databaseUrl), { username: role, password: 'secret' });
      const { url: api } = await app.serve({ env: { DATABASE_URL: url.href } });
      expect(await call(api, 'mutation/notes.add', { body: 'a' })).toMatchObject({ ok: true });
      expect(await call(api, 'query/notes.list')).toEqual({ ok: true, data: ['a'] });
    } finally {
      await owner.query(`drop owned by ${role} cascade`);
      await app.remove();
      const admin = await CommandLine.create({});
      app = admin;
    }
  });

  test('prints one line, and stacks that name source files', async () => {
    await build();
    await app.run(['migrate']);
    const { server, url } = await app.serve();
    const cores = availableParallelism();
    const pid = server.process.pid;
    expect(server.stdout).toMatch(
      new RegExp(
        `^convoy: 0\\.1\\.0 serves http://0\\.0\\.0\\.0:\\d+/api \\(8 functions, ${cores} workers?, process ${pid}\\)\\n$`,
      ),
    );
    expect(await call(url, 'mutation/notes.crash')).toMatchObject({ ok: false, error: { code: 'INTERNAL' } });
    const line = noteFunctions.split('\n').findIndex((text) => text.includes('unexpected')) + 1;
    await server.logs(new RegExp(`unexpected[\\s\\S]*convoy/functions/notes\\.ts:${line}:`));
  });

  test('serves the HTTP routes, and finishes a stream on SIGTERM', async () => {
    await app.write({
      'convoy/http.ts': `export * from './http-notes';`,
      'convoy/http-notes.ts': `import { api } from './_generated/api';
import { route } from './_generated/server';
export const count = route.get('/notes/:kind', async (ctx, _request, { kind }) =>
  Response.json([kind, await ctx.runQuery(api.notes.list)]));
export const slow = route.get('/slow', () => {
  const { readable, writable } = new TextEncoderStream();
  const writer = writable.getWriter();
  void writer.write('first');
  setTimeout(async () => {
    await writer.write(' last');
    await writer.close();
  }, 1_500);
  return new Response(readable);
});`,
    });
    await build();
    await app.run(['migrate']);
    const { server, url } = await app.serve();
    const { origin } = new URL(url);
    await call(url, 'mutation/notes.add', { body: 'a' });
    expect(await (await fetch(`${origin}/notes/all`)).json()).toEqual(['all', ['a']]);
    const stream = await fetch(`${origin}/slow`);
    server.process.kill('SIGTERM');
    await server.prints(/SIGTERM: no new calls/);
    expect(await stream.text()).toBe('first last');
    expect(await server.ended).toBe(0);
  });

  test('takes its settings from the environment, before the configuration', async () => {
    await app.write({ 'convoy.config.ts': `export default { basePath: '/from-config', workers: 3 };` });
    await build();
    await app.run(['migrate']);
    const env = { PORT: '0', HOST: '127.0.0.1', CONVOY_WORKERS: '1', CONVOY_CORS_ORIGINS: 'https://app.example' };
    const server = app.start(['start', '--json'], { env });
    const [line] = await server.prints(/\{.*\}/);
    const { url, host, workers } = JSON.parse(line) as { url: string; host: string; workers: number };
    expect({ host, workers }).toEqual({ host: '127.0.0.1', workers: 1 });
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/from-config$/);
    const response = await fetch(`${url}/health`, { headers: { origin: 'https://app.example' } });
    expect(response.headers.get('access-control-allow-origin')).toBe('https://app.example');
  });

  test('functions see NODE_ENV as production, unless it has another value', async () => {
    await app.write({
      'convoy/functions/mode.ts': `import { query } from '../_generated/server';
export const get = query({ handler: () => process.env.NODE_ENV ?? null });`,
    });
    await build();
    expect((await app.run(['migrate'])).code).toBe(0);
    const seen = [undefined, 'staging'].map(async (NODE_ENV) => {
      const { url } = await app.serve({ env: { NODE_ENV } });
      return (await call(url, 'query/mode.get')).data;
    });
    expect(await Promise.all(seen)).toEqual(['production', 'staging']);
  });

  test('finishes calls in flight on SIGTERM, and rejects new ones', async () => {
    await build();
    await app.run(['migrate']);
    const { server, url } = await app.serve();
    const slow = call(url, 'action/notes.slow');
    await server.prints(/slow begins/);
    server.process.kill('SIGTERM');
    await server.prints(/SIGTERM: no new calls/);
    await app.query('create table go ()');
    expect(await slow).toEqual({ ok: true, data: 'done' });
    expect(await server.ended).toBe(0);
    expect(server.stdout).toMatch(/convoy: stopped\n$/);
  });

  test.each([
    ['DATABASE_URL is not set', { DATABASE_URL: '' }],
    ['PORT is "http"', { PORT: 'http' }],
    ['CONVOY_WORKERS is "0"', { CONVOY_WORKERS: '0' }],
    ['CONVOY_TRUST_PROXY is "maybe"', { CONVOY_TRUST_PROXY: 'maybe' }],
  ])('exits with 1: %s', async (message, env) => {
    const failed = await app.run(['start'], { env });
    expect(failed.code).toBe(1);
    expect(failed.stdout).toContain(message);
  });

  test('names the program on a taken port, and the command that builds', async () => {
    const taken = createServer().listen(0, '0.0.0.0');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    expect((await app.run(['start'])).stdout).toContain('Run `npx convoy build`');
    await build();
    const failed = await app.run(['start', '--port', String(port)]);
    expect(failed.stdout).toContain(`Port ${port} is in use by`);
    taken.close();
  });
});

async function contents(folder: string): Promise<Record<string, string>> {
  const names = await readdir(folder);
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), 'utf8')] as const)),
  );
}
