/** An application written for Convoy 0.0.1 runs unchanged: with `convoy dev`, and with the start file it deploys. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { application } from './application-0.0.1.js';

const repository = path.join(import.meta.dirname, '..');
const require = createRequire(import.meta.url);
const databaseUrl = freshDatabaseUrl();
const running: ChildProcess[] = [];
let root: string;

interface Client {
  run(baseUrl: string, token: string): Promise<unknown>;
  refused(baseUrl: string): Promise<string>;
}
let client: Client;

beforeAll(async () => {
  // Outside of the repository, so that only the application's own packages can be resolved.
  root = await mkdtemp(path.join(tmpdir(), 'convoy-0.0.1-'));
  for (const [name, text] of Object.entries(application)) {
    await mkdir(path.dirname(path.join(root, name)), { recursive: true });
    await writeFile(path.join(root, name), text);
  }
  await mkdir(path.join(root, 'node_modules/@avvos'), { recursive: true });
  await mkdir(path.join(root, 'node_modules/@types'));
  await symlink(path.join(repository, 'js/convoy'), path.join(root, 'node_modules/@avvos/convoy'));
  for (const name of ['zod', 'react', '@types/node', '@types/react']) {
    await symlink(path.join(repository, 'node_modules', name), path.join(root, 'node_modules', name));
  }
});
afterAll(async () => {
  for (const child of running) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'close');
    }
  }
  await rm(root, { recursive: true });
});

/** Starts a Node program; resolves with the first match in its output. */
async function start(args: readonly string[], env: Readonly<Record<string, string>>, ready: RegExp) {
  const child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, NO_COLOR: '1', ...env } });
  running.push(child);
  let printed = '';
  const [, found = ''] = await new Promise<RegExpExecArray>((resolve, reject) => {
    const onOutput = (chunk: Buffer) => {
      printed += chunk.toString();
      const match = ready.exec(printed);
      if (match) resolve(match);
    };
    child.stdout.on('data', onOutput);
    child.stderr.on('data', onOutput);
    child.once('close', (code) => reject(new Error(`it exited with ${code} and printed:\n${printed}`)));
  });
  return { child, found, printed };
}

async function bundle(entry: string, outfile: string, alias: Readonly<Record<string, string>> = {}) {
  const file = path.join(root, outfile);
  const settings = { bundle: true, platform: 'node', format: 'esm' } as const;
  const external = ['@avvos/convoy', 'zod'];
  await build({ absWorkingDir: root, entryPoints: [entry], outfile: file, external, alias, ...settings });
  return file;
}

async function create(baseUrl: string, user: { name: string; token: string }): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${baseUrl}/api/mutation/users.create`, {
    method: 'POST',
    headers,
    body: JSON.stringify(user),
  });
  expect(await answer.json()).toMatchObject({ ok: true });
}

const everything = {
  projects: ['house'],
  todos: [
    ['sweep', false],
    ['paint', true],
  ],
  summary: { total: 2, open: 1 },
  points: [
    { done: false, points: '2' },
    { done: true, points: '3' },
  ],
  removed: true,
  left: [],
};

test('it runs with `convoy dev`', async () => {
  const dev = [path.join(repository, 'js/convoy/bin/convoy.mjs'), 'dev', '--port', '0'];
  const { child, found, printed } = await start(dev, { DATABASE_URL: databaseUrl }, /Server +(\S+?)(?:\/api)?\s/);
  expect(printed).toMatch(/deleted functions\.ts, api\.d\.ts, server\.d\.ts, dataModel\.d\.ts/);
  expect(printed).toMatch(/exports configureServer, which this version does not call/);
  const generated = await readdir(path.join(root, 'convoy/_generated'));
  expect(generated.sort()).toEqual(['api.ts', 'dataModel.ts', 'drizzle-orm.d.ts', 'http.ts', 'server.ts']);

  client = (await import(pathToFileURL(await bundle('src/client.ts', 'dist/client.mjs')).href)) as Client;
  await create(found, { name: 'Ada', token: 'ada' });
  expect(await client.run(found, 'ada')).toEqual(everything);
  expect(await client.refused(found)).toBe('UNAUTHORIZED');
  child.kill('SIGTERM');
  await once(child, 'close');
});

test('it type-checks', async () => {
  const compiler = path.join(path.dirname(require.resolve('typescript/package.json')), 'bin/tsc');
  const checked = promisify(execFile)(process.execPath, [compiler, '-p', root]);
  await expect(checked.then(({ stdout }) => stdout)).resolves.toBe('');
});

test('it runs with its start file, bundled with an alias for drizzle-orm', async () => {
  const file = await bundle('convoy/_generated/http.ts', 'dist/server.mjs', { 'drizzle-orm': '@avvos/convoy/sql' });
  const env = { DATABASE_URL: databaseUrl, PORT: '0', HOST: '127.0.0.1' };
  const { child, found } = await start([file], env, /listens on (\S+)/);
  await create(found, { name: 'Bob', token: 'bob' });
  expect(await client.run(found, 'bob')).toEqual(everything);
  child.kill('SIGTERM');
  await once(child, 'close');
});
