/** A program whose functions exit at a random moment: at once, while they wait for the database, or later. */
import { defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({ notes: defineTable({ n: z.number() }) });

const exit = () => process.exit(3);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export const functions = {
  count: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).length }),
  add: mutation({
    input: { n: z.number(), ms: z.number() },
    handler: async (ctx, { n, ms }) => {
      await ctx.db.insert('notes', { n });
      await pause(ms);
      return n;
    },
  }),
  exit: mutation({
    input: { how: z.string(), ms: z.number() },
    handler: async (ctx, { how, ms }) => {
      if (how === 'at once') exit();
      if (how === 'timer') setTimeout(exit, ms);
      const reading = ctx.db.query('notes').collect();
      if (how === 'reading') exit();
      await reading;
      await ctx.db.insert('notes', { n: -1 });
      await pause(ms);
      return exit();
    },
  }),
};
