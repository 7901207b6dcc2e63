import { defineRef } from '@avvos/convoy';
import { z } from 'zod';
import { mutation } from '../_generated/server';

const session = z.string().min(8).max(64);

/** Rows of tabs that went without a word are cleared away after this. */
const FORGOTTEN_AFTER_MS = 60 * 60 * 1000;

/** “I am here”: called by each tab every few seconds and whenever it turns to another channel. */
export const heartbeat = mutation({
  input: { session, name: z.string().trim().min(1).max(40), channelId: defineRef('channels').optional() },
  handler: async (ctx, person) => {
    const seenAt = Date.now();
    const known = await ctx.db
      .query('presence')
      .withIndex('by_session', (q) => q.eq('session', person.session))
      .first();
    if (known) {
      await ctx.db.patch(known.id, { ...person, seenAt });
      return;
    }
    await ctx.db.insert('presence', { ...person, seenAt });
    const forgotten = await ctx.db
      .query('presence')
      .withIndex('by_seen', (q) => q.lt('seenAt', seenAt - FORGOTTEN_AFTER_MS))
      .take(20);
    await Promise.all(forgotten.map(({ id }) => ctx.db.delete(id)));
  },
});

/** “I am gone.” */
export const leave = mutation({
  input: { session },
  handler: async (ctx, { session }) => {
    const known = await ctx.db
      .query('presence')
      .withIndex('by_session', (q) => q.eq('session', session))
      .first();
    if (known) await ctx.db.delete(known.id);
  },
});
