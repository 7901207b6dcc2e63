/** Better Auth: what it offers, and its instance on the documents of a call. */
import { createAuthFor } from '@avvos/convoy-auth/better-auth-adapter';
import { passkey } from '@better-auth/passkey';
import { type BetterAuthOptions, betterAuth } from 'better-auth';
import { genericOAuth } from 'better-auth/plugins';
import { providers } from './providers';

/** The header with the address of the client, which only `http.ts` may set. */
export const ADDRESS_HEADER = 'x-client-address';

export const authOptions = {
  // Behind a name of its own, an application has one address. Without it, this is a computer of a developer.
  baseURL: process.env.BETTER_AUTH_URL ?? { allowedHosts: ['localhost:*', '127.0.0.1:*'] },
  emailAndPassword: { enabled: true },
  session: { deferSessionRefresh: true },
  account: { encryptOAuthTokens: true },
  // Limits hold for all workers and processes. The address is set in `http.ts`.
  rateLimit: { storage: 'database' },
  advanced: { ipAddress: { ipAddressHeaders: [ADDRESS_HEADER] } },
  plugins: [passkey({ rpName: 'Convoy auth' }), genericOAuth({ config: providers })],
} satisfies BetterAuthOptions;

export const authFor = createAuthFor((database) => betterAuth({ ...authOptions, database }));
