/** Better Auth in the page: it calls the routes below `/api/auth`, which set and remove the cookie of the session. */
import { passkeyClient } from '@better-auth/passkey/client';
import { createAuthClient } from 'better-auth/react';

export const authClient = createAuthClient({ plugins: [passkeyClient()] });
