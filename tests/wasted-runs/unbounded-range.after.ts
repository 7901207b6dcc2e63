/** A live query that filters by a field of its index, which could bound the range. */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({
  readings: defineTable({ sensor: z.string(), value: z.number() }).index('by_sensor', ['sensor', 'value']),
});

const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();

export const functions = {
  readings: {
    high: query({
      input: { sensor: z.string(), value: z.number() },
      handler: (ctx, { sensor, value }) =>
        ctx.db
          .query('readings')
          .withIndex('by_sensor', (q) => q.eq('sensor', sensor).gte('value', value))
          .collect(),
    }),
    add: mutation({
      input: { sensor: z.string(), value: z.number() },
      handler: (ctx, reading) => ctx.db.insert('readings', reading),
    }),
  },
};
