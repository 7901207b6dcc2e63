import { ConvoyError, defineRef } from '@avvos/convoy';
import { authed } from '../_generated/server';

/** Where the user is signed in, the newest session first. Tokens are not sent. */
export const mine = authed.query({
  handler: async (ctx) => {
    const { id: user, sessionId } = ctx.auth.user;
    const sessions = await ctx.db
      .query('session')
      .withIndex('by_userId', (q) => q.eq('userId', user))
      .order('desc')
      .take(50);
    const now = ctx.now(60_000);
    return sessions
      .filter(({ expiresAt }) => expiresAt > now)
      .map(({ id, userAgent, ipAddress, createdAt }) => ({
        id,
        userAgent,
        ipAddress,
        createdAt,
        isCurrent: id === sessionId,
      }));
  },
});

/** A session is a document. Without it, the calls and live queries of its browser have no user any more. */
export const end = authed.mutation({
  input: { id: defineRef('session') },
  handler: async (ctx, { id }) => {
    const session = await ctx.db.get(id);
    if (session?.userId !== ctx.auth.user.id) throw new ConvoyError('NOT_FOUND', 'There is no such session.');
    await ctx.db.delete(id);
  },
});
