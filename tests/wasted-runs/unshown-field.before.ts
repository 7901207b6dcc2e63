/** A live query of a document with a field that changes often and that it does not show. */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({
  users: defineTable({
    name: z.string(),
    lastSeen: z.number(),
  }).index('by_name', ['name'], { unique: true }),
});

const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();

export const functions = {
  users: {
    profile: query({
      input: { name: z.string() },
      handler: async (ctx, { name }) => {
        const user = await ctx.db
          .query('users')
          .withIndex('by_name', (q) => q.eq('name', name))
          .unique();
        return user === null ? null : { name: user.name };
      },
    }),
    join: mutation({
      input: { name: z.string() },
      handler: (ctx, { name }) => ctx.db.insert('users', { name, lastSeen: 0 }),
    }),
    beat: mutation({
      input: { name: z.string(), lastSeen: z.number() },
      handler: async (ctx, { name, lastSeen }) => {
        const user = await ctx.db
          .query('users')
          .withIndex('by_name', (q) => q.eq('name', name))
          .unique();
        if (user !== null) await ctx.db.patch(user.id, { lastSeen });
      },
    }),
  },
};
