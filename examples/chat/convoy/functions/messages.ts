import { ConvoyError, defineRef } from '@avvos/convoy';
import { z } from 'zod';
import { mutation, query } from '../_generated/server';

/** The newest fifty messages of a channel, oldest first. */
export const list = query({
  input: { channelId: defineRef('channels') },
  handler: async (ctx, { channelId }) => {
    const newest = await ctx.db
      .query('messages')
      .withIndex('by_channel', (q) => q.eq('channelId', channelId))
      .order('desc')
      .take(50);
    return newest.reverse();
  },
});

export const send = mutation({
  input: {
    channelId: defineRef('channels'),
    author: z.string().trim().min(1).max(40),
    body: z.string().trim().min(1).max(2000),
  },
  handler: async (ctx, message) => {
    const channel = await ctx.db.get(message.channelId);
    if (!channel) throw new ConvoyError('NOT_FOUND', 'This channel is gone.');
    return ctx.db.insert('messages', message);
  },
});
