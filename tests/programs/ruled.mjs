/** A program whose rules look at the owner, loop for ever, or never settle. */
import { action, defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({
  notes: defineTable({ owner: z.string(), text: z.string(), stars: z.number().default(0) }).access({
    read: (ctx, { owner, text }) => {
      if (text === 'loop' && ctx.user === 'max') for (;;) {}
      if (text === 'never' && ctx.user === 'max') return new Promise(() => {});
      return owner === ctx.user;
    },
  }),
});

export const createContext = (req, base) => ({ ...base, user: req.headers.authorization });

const list = query({ handler: async ({ db }) => (await db.query('notes').collect()).map(({ text }) => text) });
const add = mutation({
  input: { owner: z.string(), text: z.string() },
  handler: ({ db }, note) => db.insert('notes', note),
});
export const functions = {
  list,
  add,
  listFromAction: action({ handler: (ctx) => ctx.runQuery(list) }),
  addFromAction: action({
    handler: (ctx) => ctx.runMutation(add, { owner: ctx.user ?? 'nobody', text: 'from action' }),
  }),
  deepFromAction: action({ handler: (ctx) => ctx.runAction(functions.listFromAction) }),
};
