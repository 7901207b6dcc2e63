/** Runs in Node, Bun and Deno: a query, a mutation and a live query, in the process, by web requests and over HTTP. */
import { defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { createConvoy } from '@avvos/convoy/node';
import { z } from 'zod';

const schema = defineSchema({ notes: defineTable({ text: z.string() }) });
const notes = {
  list: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).map(({ text }) => text) }),
  add: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
};
const list = makeQueryRef('notes.list');
const add = makeMutationRef('notes.add');

const convoy = await createConvoy({
  schema,
  functions: { notes },
  databaseUrl: process.env.DATABASE_URL,
  createDatabase: true,
});
const report = (name, value) => console.log(`${name} ${JSON.stringify(value)}`);

console.log(`in ${'Bun' in globalThis ? 'Bun' : 'Deno' in globalThis ? 'Deno' : 'Node'}`);
await convoy.mutation(add, { text: 'in process' });
report('in process', await convoy.query(list, {}));

const request = (name, input) =>
  new Request(`http://app.example/api/${name}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(input),
  });
await convoy.handlers.POST(request('mutation/notes.add', { text: 'by request' }));
report('by request', await (await convoy.handlers.POST(request('query/notes.list', {}))).json());

const { port } = await convoy.listen({ port: 0, host: '127.0.0.1' });
const client = createConvoyClient({ baseUrl: `http://127.0.0.1:${port}` });
const seen = [];
const done = Promise.withResolvers?.() ?? deferred();
client.watch(list, {}, ({ status, data, error }) => {
  if (status === 'error') done.reject(error);
  if (status !== 'success') return;
  seen.push(data.length);
  if (data.length === 2) client.mutation(add, { text: 'over HTTP' }).catch(done.reject);
  if (data.length === 3) done.resolve();
});
await done.promise;
report('live', seen);
await client.close();
await convoy.close();
console.log('closed');

/** `Promise.withResolvers`, which Node 20 lacks. */
function deferred() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
}
