/**
 * Opens an engine on the database of DATABASE_URL, which it creates, serves, and watches a query over HTTP while a
 * mutation changes it; prints one line of JSON. Shows that an addon works on a platform.
 */
import { defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { createConvoy } from '@avvos/convoy/node';
import { z } from 'zod';

const schema = defineSchema({ notes: defineTable({ body: z.string() }) });
const functions = {
  notes: {
    list: query({ handler: (ctx) => ctx.db.query('notes').collect() }),
    add: mutation({ input: { body: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
  },
};

const databaseUrl = process.env.DATABASE_URL;
const convoy = await createConvoy({ schema, functions, databaseUrl, createDatabase: true, workers: 0 });
const { port } = await convoy.listen({ host: '127.0.0.1', port: 0 });
const client = createConvoyClient({ baseUrl: `http://127.0.0.1:${port}` });

const seen = [];
await new Promise((resolve, reject) => {
  client.watch(makeQueryRef('notes.list'), {}, (state) => {
    if (state.error) reject(state.error);
    if (!state.data) return;
    const bodies = state.data.map(({ body }) => body);
    // A snapshot may also differ in its status only.
    if (seen.at(-1)?.length === bodies.length) return;
    seen.push(bodies);
    if (seen.length === 1) client.mutation(makeMutationRef('notes.add'), { body: 'hello' }).catch(reject);
    if (bodies.length === 1) resolve(undefined);
  });
});
client.close();
await convoy.close();
console.log(JSON.stringify({ platform: process.platform, arch: process.arch, seen }));
