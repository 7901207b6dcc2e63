/** The client in runtimes other than browsers. Node is the control. */
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { build } from 'esbuild';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { runToEnd, startUntil } from './install/processes.mjs';
import { bunIn, denoIn, hermesCompilerIn, installTools, workerdIn } from './install/tools.mjs';
import { serveNotes } from './runtime-server.ts';
import { bundleWithMetro } from './runtimes/metro.mjs';

const cwd = import.meta.dirname;
const LINES = ['query []', 'live ["first"]', 'reconnected ["first","second"]', 'closed'];

const closing = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function notes() {
  const server = await serveNotes();
  closing.push(() => server.close());
  return server;
}

async function emptyFolder() {
  const folder = await mkdtemp(path.join(tmpdir(), 'convoy-runtime-'));
  closing.push(() => rm(folder, { recursive: true }));
  return folder;
}

/** Runs a program that uses the client; it has to end by itself. Returns what carried its live query. */
async function run(program, ...args) {
  const { baseUrl, cutUrl, carriers } = await notes();
  const words = args.flatMap((word) => (word === 'URLS' ? [baseUrl, cutUrl] : [word]));
  const { code, output } = await runToEnd(program, words, { cwd });
  expect(output.trim().split('\n')).toEqual(LINES);
  expect(code).toBe(0);
  return carriers;
}

const client = path.join(cwd, 'programs/run-client.mjs');
const reactNative = path.join(cwd, 'programs/react-native-host.mjs');

test('Node, over a stream', async () => {
  expect(await run(process.execPath, client, 'URLS')).toEqual(['stream', 'stream']);
});

describe('React Native', () => {
  test.each([
    ['over a WebSocket from the start', 'socket', 'bare'],
    ['with the fetch of Expo, over a stream', 'stream', 'expo'],
  ])('%s', async (_name, carrier, variant) => {
    const script = path.join(await emptyFolder(), 'bundle.js');
    await build({
      entryPoints: [path.join(cwd, 'programs/use-client.mjs')],
      bundle: true,
      format: 'iife',
      globalName: 'bundled',
      footer: { js: 'globalThis.bundled = bundled;' },
      outfile: script,
    });
    expect(await run(process.execPath, reactNative, script, 'URLS', variant)).toEqual([carrier, carrier]);
  });
});

// These programs are several hundred megabytes.
describe.skipIf(process.env.CONVOY_TEST_LONG !== '1')('installed:', { timeout: 300_000 }, () => {
  let tools;
  beforeAll(async () => {
    tools = await installTools();
  }, 300_000);

  test('Bun, over a stream', async () => {
    expect(await run(bunIn(tools), client, 'URLS')).toEqual(['stream', 'stream']);
  });

  test('Deno, which may use the network only, over a stream', async () => {
    const words = ['run', '--allow-net', '--no-prompt', '--node-modules-dir=manual'];
    expect(await run(denoIn(tools), ...words, client, 'URLS')).toEqual(['stream', 'stream']);
  });

  test('an edge worker, over a stream', async () => {
    const { baseUrl, cutUrl, carriers } = await notes();
    const folder = await emptyFolder();
    const entryPoints = [path.join(cwd, 'programs/edge-worker.mjs')];
    await build({ entryPoints, bundle: true, format: 'esm', outfile: path.join(folder, 'worker.js') });
    await copyFile(path.join(cwd, 'runtimes/workerd.capnp'), path.join(folder, 'workerd.capnp'));
    const words = ['serve', 'workerd.capnp', '--control-fd=1'];
    const { stop, match } = await startUntil(/"port":(\d+)/, workerdIn(tools), words, { cwd: folder });
    closing.push(stop);
    const response = await fetch(
      `http://127.0.0.1:${match[1]}/?${new URLSearchParams({ base: baseUrl, cut: cutUrl })}`,
    );
    expect((await response.text()).split('\n')).toEqual(LINES);
    expect(carriers).toEqual(['stream', 'stream']);
  });

  test('React Native, as Metro bundles it and Hermes compiles it', async () => {
    const folder = await emptyFolder();
    const script = await bundleWithMetro(tools, folder);
    const compiled = await runToEnd(hermesCompilerIn(tools), ['-emit-binary', '-out', 'bundle.hbc', script], {
      cwd: folder,
    });
    expect(compiled.code).toBe(0);
    expect(await run(process.execPath, reactNative, script, 'URLS', 'bare')).toEqual(['socket', 'socket']);
  });
});
