import { authed } from '../_generated/server';

/** The passkeys of the user, the oldest first. */
export const mine = authed.query({
  handler: async (ctx) => {
    const passkeys = await ctx.db
      .query('passkey')
      .withIndex('by_userId', (q) => q.eq('userId', ctx.auth.user.id))
      .take(50);
    return passkeys.map(({ id, name }) => ({ id, name: name ?? 'Passkey' }));
  },
});
