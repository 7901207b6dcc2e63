/** The metrics for Prometheus: the page lists what a server has, and a lost worker is counted. */
import { readFile } from 'node:fs/promises';
import { createConvoyClient, makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { freePort } from './free-port.js';

const page = new URL('../docs/observability.md', import.meta.url);
const program = new URL('./programs/events.mjs', import.meta.url);
const list = makeQueryRef<Record<string, never>, string[]>('list');
const exit = makeQueryRef<Record<string, never>, null>('exit');
const add = makeMutationRef<{ text: string }, string>('add');
const increment = makeMutationRef<Record<string, never>, null>('increment');
const refuse = makeActionRef<{ secret: string }, null>('refuse');

let convoy: Convoy;
let client: ReturnType<typeof createConvoyClient>;
let metricsUrl: string;

beforeEach(async () => {
  const prometheus = await freePort();
  const databaseUrl = await freshDatabaseUrl();
  convoy = await createConvoy({ program, databaseUrl, createDatabase: true, telemetry: { prometheus } });
  const { port } = await convoy.listen({ port: 0 });
  client = createConvoyClient({ baseUrl: `http://127.0.0.1:${port}` });
  metricsUrl = `http://127.0.0.1:${prometheus}/metrics`;
});
afterEach(async () => {
  client.close();
  await convoy.close();
});

/** The metrics by name: the sum of the series of each that are no part of a histogram. */
async function metrics(): Promise<Map<string, number>> {
  const lines = (await (await fetch(metricsUrl)).text()).split('\n');
  const typed = lines.flatMap((line) => /^# TYPE (\S+) /.exec(line)?.[1] ?? []);
  const sums = new Map(typed.map((name) => [name, 0]));
  for (const line of lines) {
    const [, name = '', value] = /^(\w+)(?:\{.*\})? (\S+)$/.exec(line) ?? [];
    if (sums.has(name)) sums.set(name, (sums.get(name) ?? 0) + Number(value));
  }
  return sums;
}

/** The metrics in the table of the page. */
async function documented(): Promise<string[]> {
  const rows = (await readFile(page, 'utf8')).split('\n## Metrics')[1]?.split('\n## ')[0] ?? '';
  const names = rows.split('\n').filter((line) => line.startsWith('| `'));
  return names.flatMap((line) => line.split(' | ')[0]?.match(/[a-z_]+/g) ?? []);
}

test('the table of metrics in the documentation has the metrics of a server, and no others', async () => {
  const names = await documented();
  expect(names.length).toBeGreaterThan(20);
  const stop = client.watch(list, {}, () => {});
  await client.mutation(add, { text: 'x' });
  await expect(client.action(refuse, { secret: 's' })).rejects.toThrow();
  await expect(client.query(exit, {})).rejects.toThrow();
  await client.mutation(increment, {});
  let served = await metrics();
  // A conflict takes some calls at once, and a frame comes after its commit.
  while (names.some((name) => !served.has(name)) && (served.get('convoy_calls_total') ?? 0) < 1_000) {
    await Promise.all(Array.from({ length: 8 }, () => convoy.mutation(increment, {}).catch(() => null)));
    served = await metrics();
  }
  expect([...served.keys()].sort()).toEqual([...names].sort());
  stop();
});

test('a worker that ends is counted when another takes its place', async () => {
  const restarts = async () => (await metrics()).get('convoy_worker_restarts_total') ?? 0;
  expect(await client.query(list, {})).toEqual([]);
  expect(await restarts()).toBe(0);
  // Each of a call's runs ends a worker.
  await expect(client.query(exit, {})).rejects.toThrow();
  const runs = 3;
  while ((await restarts()) < runs) await client.query(list, {});
  expect(await restarts()).toBe(runs);
});
