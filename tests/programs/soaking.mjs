/** A small program for millions of calls. LEAK plants a leak: of objects (`heap`), or of memory outside of the heap. */
import { action, ConvoyError, defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({
  slots: defineTable({ slot: z.number(), value: z.number() }).index('by_slot', ['slot'], { unique: true }),
  notes: defineTable({ text: z.string() }),
});

const leaked = [];
function leak() {
  if (process.env.LEAK === 'heap') leaked.push(Array.from({ length: 256 }, (_, n) => ({ n })));
  if (process.env.LEAK === 'outside') leaked.push(Buffer.allocUnsafeSlow(8_192).fill(1));
}

const find = (ctx, slot) => {
  leak();
  return ctx.db
    .query('slots')
    .withIndex('by_slot', (q) => q.eq('slot', slot))
    .first();
};
const slot = { slot: z.number() };

export const functions = {
  read: query({
    input: slot,
    handler: (ctx, { slot }) => find(ctx, slot),
  }),
  write: mutation({
    input: { ...slot, value: z.number() },
    handler: async (ctx, { slot, value }) => {
      const found = await find(ctx, slot);
      if (found === null) await ctx.db.insert('slots', { slot, value });
      else await ctx.db.patch(found.id, { value });
    },
  }),
  comeAndGo: mutation({
    handler: async (ctx) => {
      const id = await ctx.db.insert('notes', { text: 'x'.repeat(200) });
      await ctx.db.delete(id);
    },
  }),
  act: action({
    input: slot,
    handler: async (ctx, { slot }) => {
      await ctx.runMutation(functions.write, { slot, value: 1 });
      return ctx.runQuery(functions.read, { slot });
    },
  }),
  refuse: mutation({
    handler: async (ctx) => {
      await ctx.db.insert('notes', { text: 'never' });
      throw new ConvoyError('FORBIDDEN', 'No.', { details: { reason: 'x'.repeat(100) } });
    },
  }),
  /** The heap of this thread after a collection. */
  heap: query({
    cache: false,
    handler: () => {
      globalThis.gc();
      return process.memoryUsage().heapUsed;
    },
  }),
};
