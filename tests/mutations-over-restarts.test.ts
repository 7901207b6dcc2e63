/** A client keeps sending mutations while its server is restarted: each takes effect once, in order, and none fails. */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';

const schema = defineSchema({ numbers: defineTable({ n: z.number() }) });
const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();
const functions = {
  numbers: {
    list: query({ handler: async (ctx) => (await ctx.db.query('numbers').collect()).map(({ n }) => n) }),
    add: mutation({
      input: { n: z.number() },
      handler: async (ctx, { n }) => {
        // Long enough to be in flight when the server shuts down.
        await new Promise((resolve) => setTimeout(resolve, 5));
        await ctx.db.insert('numbers', { n });
      },
    }),
  },
};
const list = makeQueryRef<Record<never, never>, number[]>('numbers.list');
const add = makeMutationRef<{ n: number }, null>('numbers.add');

test('mutations during three restarts take effect once and in order', { timeout: 120_000 }, async () => {
  const databaseUrl = freshDatabaseUrl();
  let port = 0;
  const start = async (): Promise<Convoy> => {
    const convoy = await createConvoy({ databaseUrl, createDatabase: true, schema, functions });
    port = (await convoy.listen({ port })).port;
    return convoy;
  };
  let convoy = await start();
  onTestFinished(() => convoy.close());
  const client = createConvoyClient({ baseUrl: `http://127.0.0.1:${port}` });
  onTestFinished(() => client.close());
  let shown: readonly number[] | null = null;
  client.watch(list, {}, ({ data }) => {
    shown = data;
  });

  let stopped = false;
  const results: Promise<unknown>[] = [];
  const clicking = (async () => {
    for (let n = 0; !stopped; n++) {
      results.push(client.mutation(add, { n }, { await: 'committed' }));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  for (let restart = 0; restart < 3; restart++) {
    const before = results.length;
    await expect.poll(() => results.length, { timeout: 30_000 }).toBeGreaterThan(before + 20);
    await convoy.close();
    convoy = await start();
  }
  stopped = true;
  await clicking;
  const outcomes = await Promise.allSettled(results);
  expect(outcomes.filter(({ status }) => status === 'rejected')).toEqual([]);
  const all = results.map((_, n) => n);
  await expect.poll(() => shown, { timeout: 30_000 }).toEqual(all);
});
