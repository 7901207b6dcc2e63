import { z } from 'zod';
import { mutation, query } from '../_generated/server';

/** The visitor's newest tasks. */
export const mine = query({
  handler: (ctx) =>
    ctx.db
      .query('tasks')
      .withIndex('by_visitor', (q) => q.eq('visitor', ctx.visitor))
      .order('desc')
      .take(50),
});

export const add = mutation({
  input: { text: z.string().trim().min(1).max(200) },
  handler: (ctx, { text }) => ctx.db.insert('tasks', { visitor: ctx.visitor, text }),
});
