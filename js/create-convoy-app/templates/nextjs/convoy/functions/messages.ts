import { defineRef } from '@avvos/convoy';
import { z } from 'zod';
import { mutation, query } from '../_generated/server';

/** The newest messages. A page that shows them is updated whenever one of them changes. */
export const list = query({
  handler: (ctx) => ctx.db.query('messages').order('desc').take(30),
});

export const send = mutation({
  input: { author: z.string().trim().min(1).max(40), body: z.string().trim().min(1).max(280) },
  handler: (ctx, message) => ctx.db.insert('messages', message),
});

export const like = mutation({
  input: { id: defineRef('messages') },
  handler: (ctx, { id }) => ctx.db.increment(id, 'likes', 1),
});
