/** A live query that reads a whole table and filters it. */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({
  tickets: defineTable({ assignee: z.string(), title: z.string() })
    .index('by_title', ['title'])
    .index('by_assignee', ['assignee']),
});

const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();

export const functions = {
  tickets: {
    assigned: query({
      input: { assignee: z.string() },
      handler: (ctx, { assignee }) =>
        ctx.db
          .query('tickets')
          .withIndex('by_assignee', (q) => q.eq('assignee', assignee))
          .collect(),
    }),
    open: mutation({
      input: { assignee: z.string(), title: z.string() },
      handler: (ctx, ticket) => ctx.db.insert('tickets', ticket),
    }),
  },
};
