/** A program with row-level security, whose role is in the query string of its address. */
import { action, cachedReads, defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({ notes: defineTable({ owner: z.string(), text: z.string() }) });

export const createContext = async (req, base) => ({
  ...base,
  user: req.headers.authorization,
  first: await cachedReads(base).query('notes').first(),
});

export const rls = {
  role: new URL(import.meta.url).searchParams.get('role'),
  settings: (ctx) => ({ 'app.user': ctx.user }),
};

const list = query({ handler: async ({ db }) => (await db.query('notes').collect()).map(({ text }) => text) });
const add = mutation({
  input: { owner: z.string(), text: z.string() },
  handler: ({ db }, note) => db.insert('notes', note),
});
export const functions = {
  list,
  add,
  addLater: mutation({
    input: { owner: z.string() },
    handler: ({ db }, { owner }) => void db.insert('notes', { owner, text: 'later' }),
  }),
  /** What `createContext` has found. */
  first: query({ handler: (ctx) => ctx.first.text }),
  listFromAction: action({ handler: (ctx) => ctx.runQuery(list) }),
  addFromAction: action({
    input: { owner: z.string() },
    handler: (ctx, { owner }) => ctx.runMutation(add, { owner, text: 'more' }),
  }),
  deepFromAction: action({ handler: (ctx) => ctx.runAction(functions.listFromAction) }),
};
