import { ConvoyError, defineRef } from '@avvos/convoy';
import { z } from 'zod';
import { authed } from '../_generated/server';

/** The newest notes of the user. */
export const mine = authed.query({
  handler: async (ctx) => {
    const notes = await ctx.db
      .query('notes')
      .withIndex('by_author', (q) => q.eq('author', ctx.auth.user.id))
      .order('desc')
      .take(100);
    return notes.map(({ id, text }) => ({ id, text }));
  },
});

export const add = authed.mutation({
  input: { text: z.string().trim().min(1).max(500) },
  handler: (ctx, { text }) => ctx.db.insert('notes', { author: ctx.auth.user.id, text }),
});

/** A note of someone else is treated like one that does not exist. */
export const remove = authed.mutation({
  input: { id: defineRef('notes') },
  handler: async (ctx, { id }) => {
    const note = await ctx.db.get(id);
    if (note?.author !== ctx.auth.user.id) throw new ConvoyError('NOT_FOUND', 'There is no such note.');
    await ctx.db.delete(id);
  },
});
