/** Better Auth: what it offers, and its instance on the documents of a call. */
import { createAuthFor } from '@avvos/convoy-auth/better-auth-adapter';
import { passkey } from '@better-auth/passkey';
import { type BetterAuthOptions, betterAuth } from 'better-auth';
import { genericOAuth } from 'better-auth/plugins';
import { providers } from './providers';

export const authOptions = {
  // Behind a name of its own, an application has one address. Without it, this is a computer of a developer.
  baseURL: process.env.BETTER_AUTH_URL ?? { allowedHosts: ['localhost:*', '127.0.0.1:*'] },
  emailAndPassword: { enabled: true },
  session: { deferSessionRefresh: true },
  account: { encryptOAuthTokens: true },
  verification: { storeIdentifier: 'hashed' },
  // Limits hold for all workers and processes.
  rateLimit: { storage: 'database' },
  plugins: [passkey({ rpName: 'Convoy auth' }), genericOAuth({ config: providers })],
} satisfies BetterAuthOptions;

export const authFor = createAuthFor((database) => betterAuth({ ...authOptions, database }));
