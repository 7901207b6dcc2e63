import { defineRef } from '@avvos/convoy';
import { z } from 'zod';
import { mutation } from '../_generated/server';

const session = z.string().min(8).max(64);

/** How long a tab's row is kept after its last heartbeat, for tabs that closed without calling `leave`. */
const RETENTION_MS = 60 * 60 * 1000;

/** Marks a tab as present: called by each tab every few seconds and when it opens another channel. */
export const heartbeat = mutation({
  input: { session, name: z.string().trim().min(1).max(40), channelId: defineRef('channels').optional() },
  handler: async (ctx, person) => {
    const seenAt = Date.now();
    const existing = await ctx.db
      .query('presence')
      .withIndex('by_session', (q) => q.eq('session', person.session))
      .first();
    if (existing) {
      await ctx.db.patch(existing.id, { ...person, seenAt });
      return;
    }
    await ctx.db.insert('presence', { ...person, seenAt });
    const expired = await ctx.db
      .query('presence')
      .withIndex('by_seen', (q) => q.lt('seenAt', seenAt - RETENTION_MS))
      .take(20);
    await Promise.all(expired.map(({ id }) => ctx.db.delete(id)));
  },
});

/** Marks a tab as closed. */
export const leave = mutation({
  input: { session },
  handler: async (ctx, { session }) => {
    const existing = await ctx.db
      .query('presence')
      .withIndex('by_session', (q) => q.eq('session', session))
      .first();
    if (existing) await ctx.db.delete(existing.id);
  },
});
