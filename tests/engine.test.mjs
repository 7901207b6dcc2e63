/** `npm start` without Rust: the published engine, from a registry on the loopback address. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findProgram } from '../scripts/packages.mjs';
import { platform } from '../scripts/platform.mjs';
import { manifestOfConvoy } from '../scripts/platform-packages.mjs';

const script = new URL('../scripts/engine.mjs', import.meta.url).href;
const { version } = await manifestOfConvoy();
const name = `@avvos/convoy-${platform().name}`;

let folder;
let registry;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'convoy-engine-test-'));
  // A PATH without cargo, wherever that is installed.
  await mkdir(path.join(folder, 'bin'));
  for (const program of ['node', 'npm', 'tar', 'gzip', 'sh']) {
    const found = program === 'node' ? process.execPath : await findProgram([program]);
    await symlink(await realpath(found), path.join(folder, 'bin', program));
  }
});
afterEach(async () => {
  registry?.server.close();
  registry = undefined;
  await rm(folder, { recursive: true });
});

/** Serves the package with this engine in these versions, and lists the requests. */
async function publish(versions, engine) {
  const contents = path.join(folder, 'package');
  await mkdir(contents);
  await writeFile(path.join(contents, 'package.json'), JSON.stringify({ name, version }));
  await writeFile(path.join(contents, 'convoy.node'), engine);
  const tarball = path.join(folder, 'engine.tgz');
  await promisify(execFile)('tar', ['-czf', tarball, '-C', folder, 'package']);
  const integrity = `sha512-${createHash('sha512')
    .update(await readFile(tarball))
    .digest('base64')}`;
  const requests = [];
  const server = createServer((request, response) => {
    requests.push(decodeURIComponent(request.url));
    if (request.url.endsWith('.tgz')) return createReadStream(tarball).pipe(response);
    if (decodeURIComponent(request.url) !== `/${name}` || versions.length === 0) {
      return response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"Not found"}');
    }
    const dist = { tarball: `${registry.url}/engine.tgz`, integrity };
    const manifests = versions.map((each) => [each, { name, version: each, dist }]);
    response.writeHead(200, { 'content-type': 'application/json' });
    return response.end(
      JSON.stringify({ name, 'dist-tags': { latest: versions.at(-1) }, versions: Object.fromEntries(manifests) }),
    );
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  registry = { server, requests, url: `http://127.0.0.1:${server.address().port}` };
}

const addon = () => path.join(folder, 'npm', 'convoy.node');

/** Calls `ensureEngine` in a process of its own; returns what it prints. */
async function ensureEngine(env = {}) {
  const options = { addon: addon(), stamp: path.join(folder, 'stamp') };
  const code = `
    const { ensureEngine } = await import(${JSON.stringify(script)});
    await ensureEngine({ ...${JSON.stringify(options)}, build: async () => console.log('built with cargo') });`;
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      ['--input-type=module', '-e', code],
      {
        env: {
          PATH: path.join(folder, 'bin'),
          HOME: folder,
          npm_config_registry: registry?.url ?? 'http://127.0.0.1:9',
          npm_config_cache: path.join(folder, 'cache'),
          npm_config_fetch_retries: '0',
          ...env,
        },
      },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, printed: stdout + stderr }),
    );
  });
}

test('the published engine of the same version is used, and said in one line', async () => {
  await publish(['0.0.9', version, '99.0.0'], 'the engine');
  const { code, printed } = await ensureEngine();
  expect(printed).toBe(
    `\n▸ Rust is not installed: using the published engine ${name}@${version}, without later changes of crates/\n`,
  );
  expect(code).toBe(0);
  expect(await readFile(addon(), 'utf8')).toBe('the engine');
});

test('it is downloaded once', async () => {
  await publish([version], 'the engine');
  await ensureEngine();
  const before = registry.requests.length;
  expect((await ensureEngine()).printed).toContain('using the published engine');
  expect(registry.requests.length).toBe(before);
  expect(before).toBeGreaterThan(0);
});

test('an engine that differs from the hash in the registry is not used', async () => {
  await publish([version], 'the engine');
  await writeFile(path.join(folder, 'package/convoy.node'), 'another engine');
  await promisify(execFile)('tar', ['-czf', path.join(folder, 'engine.tgz'), '-C', folder, 'package']);
  const { code, printed } = await ensureEngine();
  expect(code).toBe(1);
  expect(printed).toContain('npm could not download the published engine');
  await expect(readFile(addon())).rejects.toThrow('ENOENT');
});

test.each([
  ['no version', []],
  ['only another version', ['0.0.9']],
])('with %s published, the command that installs Rust is said', async (_what, versions) => {
  await publish(versions, 'the engine');
  const { code, printed } = await ensureEngine();
  expect(code).toBe(1);
  expect(printed).toContain(
    `✗ Rust is not installed, and npm could not download the published engine ${name}@${version}: `,
  );
  expect(printed).toContain('Install Rust, then run this again: curl ');
  expect(printed).toContain('https://sh.rustup.rs | sh');
  expect(printed).not.toMatch(/ {4}at /);
});

test('without a network the reason is said too', async () => {
  const { code, printed } = await ensureEngine();
  expect(code).toBe(1);
  expect(printed).toMatch(/published engine \S+: .*127\.0\.0\.1:9.*failed.*\n {2}Install Rust/);
});

test('with Rust it is built, and replaces a published one for good', async () => {
  await publish([version], 'the engine');
  await ensureEngine();
  await writeFile(path.join(folder, 'bin/cargo'), '#!/bin/sh\n', { mode: 0o755 });
  expect((await ensureEngine()).printed).toBe('built with cargo\n');
  await rm(path.join(folder, 'bin/cargo'));
  const before = registry.requests.length;
  await ensureEngine();
  expect(registry.requests.length).toBeGreaterThan(before);
});

test('CONVOY_NATIVE_PATH names an engine, so none is needed', async () => {
  expect(await ensureEngine({ CONVOY_NATIVE_PATH: '/somewhere/convoy.node' })).toEqual({ code: 0, printed: '' });
});
