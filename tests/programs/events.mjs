/** A program whose calls end in every way that events tell of. */
import { action, ConvoyError, defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({
  notes: defineTable({ text: z.string() }),
  counters: defineTable({ value: z.number() }),
});

export const functions = {
  list: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).map(({ text }) => text) }),
  any: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).length > 0 }),
  add: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
  /** Conflicts with itself: it reads and writes one document, with a pause in between. */
  increment: mutation({
    handler: async (ctx) => {
      const counter = await ctx.db.query('counters').first();
      if (counter === null) return void (await ctx.db.insert('counters', { value: 1 }));
      await new Promise((resolve) => setTimeout(resolve, 5));
      await ctx.db.patch(counter.id, { value: counter.value + 1 });
    },
  }),
  refuse: action({
    input: { secret: z.string() },
    handler: () => {
      throw new ConvoyError('FORBIDDEN', 'the message');
    },
  }),
  exit: query({ handler: () => process.exit(3) }),
};
