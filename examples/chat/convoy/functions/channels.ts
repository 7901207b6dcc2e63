import { ConvoyError } from '@avvos/convoy';
import { z } from 'zod';
import { mutation, query } from '../_generated/server';

/**
 * The content of the side bar: the channels, oldest first, and the people seen last. One query for both, so that they
 * come from one snapshot.
 */
export const lobby = query({
  handler: async (ctx) => {
    const [channels, seen] = await Promise.all([
      ctx.db.query('channels').take(200),
      ctx.db.query('presence').withIndex('by_seen').order('desc').take(200),
    ]);
    return {
      channels: channels.map(({ id, name }) => ({ id, name })),
      people: seen.map(({ id, name, channelId, seenAt }) => ({ id, name, channelId, seenAt })),
    };
  },
});

/** Creates a channel and returns its id; fails with `CONFLICT` where the name is taken. */
export const create = mutation({
  input: { name: z.string().trim().min(1).max(32) },
  handler: async (ctx, { name }) => {
    const taken = await ctx.db
      .query('channels')
      .withIndex('by_name', (q) => q.eq('name', name))
      .first();
    // The unique index would refuse it too; this check gives the user a readable message.
    if (taken) throw new ConvoyError('CONFLICT', `There is already a channel called “${name}”.`);
    return ctx.db.insert('channels', { name });
  },
});
