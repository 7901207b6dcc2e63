/** A server in its own process: sends its port over IPC, and ends when the channel is closed. */
import { defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import { z } from 'zod';

const schema = defineSchema({ notes: defineTable({ text: z.string() }) });

const functions = {
  list: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).map(({ text }) => text) }),
  add: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
  raw: query({ input: { text: z.string() }, handler: (ctx, { text }) => ctx.db.raw({ text }) }),
  fail: mutation({
    input: { size: z.number() },
    handler: (_ctx, { size }) => {
      throw new Error('x'.repeat(size));
    },
  }),
};

const convoy = await createConvoy({ schema, functions, databaseUrl: process.env.DATABASE_URL, createDatabase: true });
const { port } = await convoy.listen({ port: 0 });
process.on('disconnect', () => void convoy.close());
process.send({ port });
