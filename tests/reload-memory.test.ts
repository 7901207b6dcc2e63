/** Code that is replaced again and again, with a live query and calls between: memory does not grow with the versions. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { afterEach, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { LONG } from './model/random.js';
import { grows, megabytes, type Trend, trendOf } from './trend.js';

const SWAPS = LONG ? 500 : 20;
const FEW = 10;
/** Growth that counts, of all swaps together; a version has about 3 MiB. */
const ALLOWANCE = 12 * 2 ** 20;
const TIMEOUT = LONG ? 1_200_000 : 120_000;

const version = makeQueryRef<Record<never, never>, number>('version');
const list = makeQueryRef<Record<never, never>, [number, number]>('list');
const add = makeMutationRef<Record<never, never>, string>('add');

const running: ChildProcess[] = [];
afterEach(async () => {
  // Those of a test that has failed.
  for (const server of running.splice(0)) {
    if (server.exitCode !== null || server.signalCode !== null) continue;
    const exited = once(server, 'exit');
    server.kill('SIGKILL');
    await exited;
  }
});

/** Replaces the code this many times; returns the trends of resident memory, and of the heap of the main thread. */
async function swap(swaps: number, { inline = false } = {}): Promise<{ resident: Trend; heap: Trend }> {
  const program = fileURLToPath(new URL('./programs/reloading.mjs', import.meta.url));
  const env = { ...process.env, DATABASE_URL: freshDatabaseUrl(), INLINE: inline ? '1' : '' };
  const stdio = ['ignore', 'ignore', 'inherit', 'ipc'] as const;
  const server = spawn(process.execPath, ['--expose-gc', program], { env, stdio: [...stdio] });
  running.push(server);
  const [{ port }] = (await once(server, 'message')) as [{ port: number }];
  const client = createConvoyClient({ baseUrl: `http://127.0.0.1:${port}` });
  let shown: readonly [number, number] | null = null;
  let onShown = () => {};
  client.watch(list, {}, ({ data }) => {
    shown = data;
    onShown();
  });
  const [resident, heap]: [number[], number[]] = [[], []];
  for (let n = 1; n <= swaps; n++) {
    server.send({ version: n });
    const [measured] = (await once(server, 'message')) as [{ rss: number; heap: number }];
    resident.push(measured.rss);
    heap.push(measured.heap);
    expect(await client.query(version, {})).toBe(n);
    await client.mutation(add, {});
    while (shown?.[0] !== n || shown[1] !== n) await new Promise<void>((resolve) => (onShown = resolve));
  }
  client.close();
  const exited = once(server, 'exit');
  server.disconnect();
  expect(await exited).toEqual([0, null]);
  const trends = { resident: trendOf(resident), heap: trendOf(heap) };
  const text = ({ growth, noise }: Trend) => `growth ${megabytes(growth)} with noise ${megabytes(noise)}`;
  console.log(
    `${swaps} swaps: resident ${megabytes(resident.at(-1) ?? 0)}, ${text(trends.resident)}; ` +
      `heap ${megabytes(heap.at(-1) ?? 0)}, ${text(trends.heap)}`,
  );
  return trends;
}

test('memory does not grow with the number of code swaps', { timeout: TIMEOUT }, async () => {
  const { resident, heap } = await swap(SWAPS);
  expect(grows(resident, ALLOWANCE)).toBe(false);
  expect(grows(heap, ALLOWANCE / 4)).toBe(false);
});

test('control: versions that stay in memory are detected', { timeout: TIMEOUT }, async () => {
  const { resident, heap } = await swap(FEW, { inline: true });
  expect(grows(resident, ALLOWANCE)).toBe(true);
  expect(grows(heap, ALLOWANCE / 4)).toBe(true);
});
