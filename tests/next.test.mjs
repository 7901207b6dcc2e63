/**
 * A Next.js application with the files of docs/existing-servers.md and the packed packages: built and started without
 * any setting of Next.js, and edited in development, where one engine stays.
 */

import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { packAll } from '../scripts/pack.mjs';
import { freshDatabaseUrl } from './app.ts';
import { runToEnd, startUntil } from './install/processes.mjs';

const page = await readFile(path.join(import.meta.dirname, '../docs/existing-servers.md'), 'utf8');

const layout = `export default function Layout({ children }: { children: React.ReactNode }) {
  return <html lang="en"><body>{children}</body></html>;
}
`;

// Next.js is 200 MB, and a build takes half a minute.
describe.skipIf(process.env.CONVOY_TEST_LONG !== '1')('Next.js 16', { timeout: 600_000 }, () => {
  const databaseUrl = freshDatabaseUrl();
  const database = new pg.Client({ connectionString: databaseUrl });
  const env = { ...process.env, DATABASE_URL: databaseUrl, NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: undefined };
  let app;
  let running;
  let baseUrl;

  beforeAll(async () => {
    app = await mkdtemp(path.join(tmpdir(), 'convoy-next-'));
    const packages = path.join(app, 'packages');
    await mkdir(packages);
    const packed = await packAll({ out: packages, withoutAddon: 'manifest only' });
    const files = packed.filter(({ name, hasAddon }) => hasAddon || name === '@avvos/convoy').map(({ file }) => file);
    await writeFile(path.join(app, 'package.json'), '{ "name": "app", "private": true, "type": "module" }\n');
    // As create-next-app does; Next.js adds the rest.
    await write('tsconfig.json', '{ "compilerOptions": { "strict": true } }\n');
    await write('app/layout.tsx', layout);
    for (const [, file, text] of page.matchAll(/^```tsx?\n\/\/ (\S+)\n([\s\S]*?)^```$/gm)) await write(file, text);
    await shell('npm', 'install', 'next@16', 'react', 'react-dom', 'zod', 'typescript', '@types/react', '@types/node');
    await shell('npm', 'install', ...files);
    await shell('npx', 'convoy', 'generate');
    const admin = new pg.Client({ connectionString: process.env.CONVOY_TEST_DATABASE_URL });
    await admin.connect();
    await admin.query(`create database ${new URL(databaseUrl).pathname.slice(1)}`);
    await admin.end();
    await database.connect();
  }, 600_000);

  afterEach(() => running?.stop());

  afterAll(async () => {
    await database.end();
    if (app) await rm(app, { recursive: true, force: true });
  });

  async function write(file, text) {
    await mkdir(path.dirname(path.join(app, file)), { recursive: true });
    await writeFile(path.join(app, file), text);
  }

  async function shell(command, ...args) {
    const done = await runToEnd(command, args, { cwd: app, env });
    expect(done, done.output).toMatchObject({ code: 0 });
  }

  async function start(command) {
    const port = await freePort();
    const next = path.join(app, 'node_modules/next/dist/bin/next');
    running = await startUntil(/Ready in/, process.execPath, [next, command, '-p', String(port)], { cwd: app, env });
    baseUrl = `http://localhost:${port}`;
  }

  async function call(name, args = {}) {
    const response = await fetch(`${baseUrl}/api/${name}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(args),
    });
    return response.json();
  }

  /** Engines that are connected: each listens on one connection. */
  async function engines() {
    const { rows } = await database.query(
      `select count(*)::int from pg_stat_activity
       where datname = current_database() and application_name = 'convoy' and query ilike 'listen%'`,
    );
    return rows[0].count;
  }

  test('is built without a database, and serves pages, calls and streams', async () => {
    const offline = { ...env, DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none' };
    const built = await runToEnd('npx', ['next', 'build'], { cwd: app, env: offline });
    expect(built, built.output).toMatchObject({ code: 0 });
    await start('start');
    expect(await call('mutation/notes.add', { text: 'from a call' })).toMatchObject({ ok: true });
    expect(await (await fetch(baseUrl)).text()).toContain('from a call');
    const left = new AbortController();
    const stream = await fetch(`${baseUrl}/api/subscribe?name=notes.list`, { signal: left.signal });
    const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    const until = async (part) => {
      while (!text.includes(part)) text += (await reader.read()).value;
    };
    await until('from a call');
    await call('mutation/notes.add', { text: 'while it streams' });
    await until('while it streams');
    left.abort();
  });

  test('keeps one engine in development, with the code of the last edit', async () => {
    await start('dev');
    const functions = await readFile(path.join(app, 'convoy/functions/notes.ts'), 'utf8');
    const version = (n) => `${functions}\nexport const version = query({ handler: () => 'version ${n}' });\n`;
    for (let n = 1; n <= 5; n += 1) {
      await write('convoy/functions/notes.ts', version(n));
      // Next.js notices the edit and compiles by itself; requests before that get the code before it.
      while ((await call('query/notes.version').catch(() => ({}))).data !== `version ${n}`);
      expect((await fetch(baseUrl)).status).toBe(200);
      expect(await engines()).toBe(1);
    }
  });
});

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
