/** Queries whose results may not answer later calls, each for another reason; and some whose results may. */
import { action, defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { sql } from '@avvos/convoy/sql';
import { z } from 'zod';

export const schema = defineSchema({ notes: defineTable({ text: z.string() }) });

const { random } = Math;
const { now } = Date;
const later = () => new Promise((resolve) => setTimeout(resolve, 1));
const list = async (ctx) => (await ctx.db.query('notes').collect()).map(({ text }) => text);
const fresh = query({ cache: false, handler: () => 'fresh' });

export const functions = {
  kept: {
    list: query({ handler: list }),
    nothing: query({ handler: () => 'nothing' }),
    given: query({ handler: async (ctx) => [await list(ctx), new Date(0).toISOString(), Date.UTC(2020, 1)] }),
  },
  impure: {
    clock: query({ handler: async (ctx) => [await list(ctx), Date.now()] }),
    date: query({ handler: async (ctx) => [await list(ctx), new Date().toISOString()] }),
    now: query({ handler: async (ctx) => [await list(ctx), ctx.now()] }),
    refreshed: query({ handler: async (ctx) => [await list(ctx), ctx.now(60_000)] }),
    random: query({ handler: async (ctx) => [await list(ctx), Math.random()] }),
    uuid: query({ handler: () => crypto.randomUUID() }),
    bytes: query({ handler: () => [...crypto.getRandomValues(new Uint8Array(2))] }),
    fetched: query({ handler: async () => (await fetch('data:,hello')).text() }),
    captured: query({ handler: () => random() }),
    capturedClock: query({ handler: () => now() }),
    afterAnAwait: query({
      handler: async () => {
        await later();
        return Math.random();
      },
    }),
    thenable: query({
      handler: () => ({
        // biome-ignore lint/suspicious/noThenProperty: as builders of queries do.
        then: (resolve) => void later().then(() => resolve(Math.random())),
      }),
    }),
    toJSON: query({ handler: () => ({ toJSON: () => Math.random() }) }),
    input: query({ input: { at: z.number().default(() => Date.now()) }, handler: (_ctx, { at }) => at }),
    output: query({ returns: z.string().transform((text) => `${text} ${Math.random()}`), handler: () => 'a' }),
    joined: query({ handler: (ctx) => ctx.runQuery(fresh, {}) }),
    raw: query({ handler: (ctx) => ctx.db.raw(sql`select now()::text as at`, { tables: ['notes'] }) }),
    unshared: query({ share: false, handler: list }),
    fresh,
  },
  add: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
  wait: action({ handler: later }),
};
