/** A program whose functions block their thread, throw uncaught errors, and print. */
import { existsSync, writeFileSync } from 'node:fs';
import { threadId } from 'node:worker_threads';
import { action, ConvoyError, defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({ notes: defineTable({ text: z.string() }) });

const never = () => new Promise(() => {});

/** Keeps its thread busy until the file exists, if one is given. */
function block(until) {
  while (until === undefined || !existsSync(until));
}

export const functions = {
  where: query({ handler: () => threadId }),
  list: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).map(({ text }) => text) }),
  add: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
  /** Creates the file `marker`, if one is given, when it has begun. Ends when the file `until` exists. */
  loop: query({
    input: { marker: z.string().optional(), until: z.string().optional() },
    handler: (_ctx, { marker, until }) => {
      if (marker !== undefined) writeFileSync(marker, '');
      block(until);
      return null;
    },
  }),
  regex: query({ handler: () => /^(a+)+$/.test(`${'a'.repeat(60)}!`) }),
  /** Blocks its thread after it has waited for the database. */
  loopLater: query({
    input: { until: z.string() },
    handler: async (ctx, { until }) => {
      await ctx.db.query('notes').first();
      block(until);
      return null;
    },
  }),
  compute: query({
    input: { until: z.string() },
    handler: (_ctx, { until }) => {
      block(until);
      return threadId;
    },
  }),
  throwLater: action({
    handler: () => {
      setTimeout(() => {
        throw new Error('an uncaught error');
      });
      return never();
    },
  }),
  rejectLater: action({
    handler: () => {
      void Promise.reject(new Error('an unhandled rejection'));
      return never();
    },
  }),
  exit: query({ handler: () => process.exit(1) }),
  print: query({
    cache: false,
    input: { bytes: z.number() },
    handler: (_ctx, { bytes }) => {
      console.log('x'.repeat(bytes));
      console.error('y'.repeat(bytes));
      return bytes;
    },
  }),
  large: query({ input: { bytes: z.number() }, handler: (_ctx, { bytes }) => ['z'.repeat(bytes)] }),
  // Small on the first reads, when it is measured, and large on later ones.
  grows: query({
    input: { how: z.string(), bytes: z.number() },
    handler: (_ctx, { how, bytes }) => {
      let reads = 0;
      const growing = () => (reads++ < 2 ? 1 : 'z'.repeat(bytes));
      if (how === 'toJSON') return { toJSON: growing };
      if (how === 'proxy') return new Proxy({ a: 1 }, { get: (_target, key) => (key === 'a' ? growing() : undefined) });
      return {
        get a() {
          return growing();
        },
      };
    },
  }),
  many: query({
    input: { count: z.number() },
    handler: (_ctx, { count }) => {
      const one = { text: 'z'.repeat(100) };
      return Array.from({ length: count }, () => one);
    },
  }),
  sendsLarge: mutation({
    input: { how: z.string(), bytes: z.number() },
    handler: async (ctx, { how, bytes }) => {
      const text = 'z'.repeat(bytes);
      if (how === 'insert') return ctx.db.insert('notes', { text });
      if (how === 'raw') return ctx.db.raw({ text: 'select length($1)', values: [text] });
      if (how === 'details') throw new ConvoyError('CONFLICT', 'Too much to say.', { details: { text } });
      return ctx.runMutation(functions.add, { text });
    },
  }),
  reads: query({
    input: { bytes: z.number() },
    handler: async (ctx, { bytes }) => {
      const [row] = await ctx.db.raw({ text: `select repeat('z', $1::int) as text`, values: [bytes] });
      return row.text.length;
    },
  }),
  throwsLarge: query({
    input: { bytes: z.number() },
    handler: (_ctx, { bytes }) => {
      throw new Error('w'.repeat(bytes));
    },
  }),
};
