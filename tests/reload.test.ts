/** `createConvoy` called again, as development servers do that evaluate changed modules again. */

import { defineSchema, defineTable, query } from '@avvos/convoy';
import { createConvoyClient } from '@avvos/convoy/client';
import { type Convoy, type ConvoyEvent, createConvoy, type OnEvent } from '@avvos/convoy/node';
import pg from 'pg';
import { afterEach, expect, test } from 'vitest';
import { z } from 'zod';
import { api, freshDatabaseUrl, functions, schema } from './app.js';

const open: Convoy[] = [];
afterEach(async () => {
  for (const convoy of open.splice(0)) await convoy.close();
});

const databaseUrl = freshDatabaseUrl();

async function create(changed: object = {}, options: { poolSize?: number; onEvent?: OnEvent } = {}): Promise<Convoy> {
  const messages = { ...functions.messages, ...changed };
  const program = { schema, functions: { ...functions, messages } };
  const convoy = await createConvoy({ ...program, ...options, databaseUrl, createDatabase: true, programKey: 'chat' });
  if (!open.includes(convoy)) open.push(convoy);
  return convoy;
}

/** Engines that are connected: each listens on one connection. */
async function engines(): Promise<number> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  const { rows } = await client.query(
    `select count(*)::int from pg_stat_activity
     where datname = current_database() and application_name = 'convoy' and query ilike 'listen%'`,
  );
  await client.end();
  return rows[0].count;
}

test('events go to the handler of the newest code', async () => {
  const given: ConvoyEvent[] = [];
  const convoy = await create({}, { onEvent: (event) => given.push(event) });
  let onCall = () => {};
  const called = new Promise<void>((resolve) => (onCall = resolve));
  const again = await create({}, { onEvent: ({ type }) => (type === 'call' ? onCall() : undefined) });
  expect(again).toBe(convoy);
  await convoy.mutation(api.channels.create, { name: 'events' });
  await called;
  expect(given.filter(({ type }) => type === 'call')).toEqual([]);
});

test('loads the code into the running engine, and open watches get its results', async () => {
  const convoy = await create();
  const { port } = await convoy.listen({ port: 0 });
  const channelId = await convoy.mutation(api.channels.create, { name: 'general' });
  const client = createConvoyClient({ baseUrl: `http://127.0.0.1:${port}` });
  let latest: unknown = null;
  let onChange = () => {};
  client.watch(api.messages.list, { channelId }, ({ data }) => {
    latest = data;
    onChange();
  });
  const until = async (text: string) => {
    while (!JSON.stringify(latest).includes(text)) await new Promise<void>((resolve) => (onChange = resolve));
  };
  await until('[]');
  for (const body of ['edit 1', 'edit 2', 'edit 3']) {
    const again = await create({ list: { ...functions.messages.list, handler: async () => [{ body }] } });
    expect(again).toBe(convoy);
    // The module also listens again.
    expect((await again.listen({ port })).port).toBe(port);
    await until(body);
  }
  expect(await engines()).toBe(1);
  client.close();
});

test('with other options replaces the engine, and another program under the same key is refused', async () => {
  const convoy = await create();
  const replaced = await create({}, { poolSize: 3 });
  expect(replaced).not.toBe(convoy);
  expect(await engines()).toBe(1);
  const other = createConvoy({
    schema: defineSchema({ people: defineTable({ name: z.string() }) }),
    functions: { people: { all: query({ handler: (ctx) => ctx.db.query('people').collect() }) } },
    databaseUrl,
    programKey: 'chat',
  });
  await expect(other).rejects.toThrow(
    /program key \(chat\): the one with channels\.create, .*, and the one with people\.all/,
  );
  expect(await replaced.mutation(api.channels.create, { name: 'still served' })).toMatch(/^channels:/);
});

test('after it was closed opens an engine', async () => {
  const first = await create();
  await first.close();
  const second = await create();
  expect(second).not.toBe(first);
  expect(await second.mutation(api.channels.create, { name: 'again' })).toMatch(/^channels:/);
});
