/** The N-API boundary: several engines, several threads, and shutdown at unfavourable moments. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { api, freshDatabaseUrl, serve } from './app.js';

test('two engines of one process are independent', async () => {
  const [one, two] = await Promise.all([serve(), serve()]);
  await one.client.mutation(api.channels.create, { name: 'general' });
  await two.client.mutation(api.channels.create, { name: 'general' });
  await one.close();
  await two.client.mutation(api.channels.create, { name: 'another' });
  expect((await two.psql.query('select from channels')).rowCount).toBe(2);
  await two.close();
});

test('the addon loads in worker threads, and a thread that ends affects no other', async () => {
  const databaseUrl = freshDatabaseUrl();
  const main = await serve({ databaseUrl });
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    (async () => {
      const { createConvoy } = await import('@avvos/convoy/node');
      const { defineSchema, query } = await import('@avvos/convoy');
      const echo = query({ handler: () => workerData.name });
      const convoy = await createConvoy({ schema: defineSchema({}), functions: { echo: { name: echo } }, databaseUrl: workerData.databaseUrl });
      parentPort.postMessage(await convoy.query({ kind: 'query', name: 'echo.name' }, {}));
      // Left open on purpose: the thread is terminated with a running engine.
      setInterval(() => {}, 1_000);
    })();`;
  const workers = ['a', 'b', 'c'].map((name) => new Worker(code, { eval: true, workerData: { name, databaseUrl } }));
  const answers = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]));
  expect(answers).toEqual(['a', 'b', 'c']);
  await Promise.all(workers.map((worker) => worker.terminate()));
  await main.client.mutation(api.channels.create, { name: 'still here' });
  await main.close();
});

test('hundreds of concurrent calls each return their own result', async () => {
  const app = await serve();
  const names = Array.from({ length: 500 }, (_, n) => `c${n}`);
  const ids = await Promise.all(names.map((name) => app.convoy.mutation(api.channels.create, { name })));
  expect(new Set(ids).size).toBe(500);
  const lists = await Promise.all(ids.map((channelId) => app.convoy.query(api.messages.list, { channelId })));
  expect(lists).toEqual(ids.map(() => []));
  await app.close();
});

test('a closed engine fails all calls with UNAVAILABLE, calls in flight included, and may be closed twice', async () => {
  const app = await serve();
  const calls = Array.from({ length: 50 }, (_, n) => app.convoy.mutation(api.channels.create, { name: `c${n}` }));
  const settled = Promise.allSettled(calls);
  await Promise.all([app.convoy.close(), app.convoy.close()]);
  for (const result of await settled) {
    if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'UNAVAILABLE' });
  }
  const after = app.convoy.mutation(api.channels.create, { name: 'late' });
  await expect(after).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await app.close();
});

test('an unreachable database is a clear error', async () => {
  const databaseUrl = 'postgres://nobody:wrong@127.0.0.1:1/none';
  const opening = serve({ databaseUrl, createDatabase: false });
  await expect(opening).rejects.toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining('refused') });
});
