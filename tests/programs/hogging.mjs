/** Functions that block their thread, never settle or fight for one document, beside well-behaved ones. */
import { existsSync } from 'node:fs';
import { defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({
  notes: defineTable({ text: z.string() }),
  counters: defineTable({ value: z.number() }),
});

/** The limit of functions that would exceed any, far below that of the others. */
const HOG_MS = 3_000;
const never = () => new Promise(() => {});
const one = { text: 'select 1 as one', values: [] };

export const functions = {
  // Well-behaved.
  echo: query({ input: { n: z.number() }, handler: (_ctx, { n }) => n }),
  count: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).length }),
  add: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
  /** Holds a connection until the test answers its request. */
  hold: mutation({
    input: { gate: z.string() },
    handler: async (ctx, { gate }) => {
      await ctx.db.raw(one);
      await fetch(gate);
    },
  }),
  value: query({ handler: async (ctx) => (await ctx.db.query('counters').first())?.value ?? 0 }),

  // Not so.
  loop: query({
    input: { until: z.string() },
    timeoutMs: HOG_MS,
    handler: (_ctx, { until }) => {
      while (!existsSync(until));
      return null;
    },
  }),
  regex: query({ timeoutMs: HOG_MS, handler: () => /^(a+)+$/.test(`${'a'.repeat(60)}!`) }),
  never: query({ timeoutMs: HOG_MS, handler: never }),
  neverWrite: mutation({
    timeoutMs: 2_000,
    handler: async (ctx) => {
      // In a transaction, which keeps a connection.
      await ctx.db.raw(one);
      await ctx.db.insert('notes', { text: 'never' });
      await never();
    },
  }),
  hot: mutation({
    handler: async (ctx) => {
      const counter = await ctx.db.query('counters').first();
      if (counter === null) return void (await ctx.db.insert('counters', { value: 1 }));
      await new Promise((resolve) => setTimeout(resolve, 5));
      await ctx.db.patch(counter.id, { value: counter.value + 1 });
    },
  }),
};
