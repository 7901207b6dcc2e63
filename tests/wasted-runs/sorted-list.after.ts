/** A live query that sorts all scores of a game to show the best three. */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({
  scores: defineTable({ game: z.string(), points: z.number() })
    .index('by_game', ['game'])
    .index('by_game_and_points', ['game', 'points']),
});

const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();

export const functions = {
  scores: {
    best: query({
      input: { game: z.string() },
      handler: (ctx, { game }) =>
        ctx.db
          .query('scores')
          .withIndex('by_game_and_points', (q) => q.eq('game', game))
          .order('desc')
          .take(3),
    }),
    add: mutation({
      input: { game: z.string(), points: z.number() },
      handler: (ctx, score) => ctx.db.insert('scores', score),
    }),
  },
};
