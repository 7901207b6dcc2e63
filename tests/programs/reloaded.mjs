/** A program in versions: `?v=<number>` behind its URL. Each version has some megabytes that only it uses. */
import { defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { z } from 'zod';

const version = Number(new URL(import.meta.url).searchParams.get('v'));
const ballast = Array.from({ length: 50_000 }, (_, n) => ({ n, version }));

export const schema = defineSchema({ notes: defineTable({ text: z.string() }) });

export const functions = {
  version: query({ handler: () => ballast.at(-1).version }),
  list: query({ handler: async (ctx) => [version, (await ctx.db.query('notes').collect()).length] }),
  add: mutation({ handler: (ctx) => ctx.db.insert('notes', { text: String(version) }) }),
};
