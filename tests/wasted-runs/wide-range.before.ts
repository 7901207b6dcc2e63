/** A live query over an index that has only one of the two fields that it compares. */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({
  messages: defineTable({ room: z.string(), pinned: z.boolean(), body: z.string() }).index('by_room', ['room']),
});

const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();

export const functions = {
  messages: {
    pinned: query({
      input: { room: z.string(), pinned: z.boolean() },
      handler: (ctx, { room, pinned }) =>
        ctx.db
          .query('messages')
          .withIndex('by_room', (q) => q.eq('room', room))
          .filter((q) => q.eq(q.field('pinned'), pinned))
          .collect(),
    }),
    send: mutation({
      input: { room: z.string(), pinned: z.boolean(), body: z.string() },
      handler: (ctx, message) => ctx.db.insert('messages', message),
    }),
  },
};
