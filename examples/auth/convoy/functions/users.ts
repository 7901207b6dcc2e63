import { query } from '../_generated/server';
import { providers } from '../providers';

/** The user of the page, or null; and how one can sign in without a password of this application. */
export const current = query({
  handler: ({ auth }) => ({
    user: auth.user && { name: auth.user.name, email: auth.user.email },
    providers: providers.map(({ providerId, name }) => ({ id: providerId, name })),
  }),
});
