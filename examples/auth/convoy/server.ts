import type { ConvoyRequest, Id } from '@avvos/convoy';
import { betterAuth, betterAuthSecuritySchemes } from '@avvos/convoy-auth';
import type { ServerContext } from './_generated/server';
import { authFor, authOptions } from './auth';

/** For clients that read the OpenAPI document: the name of the session's cookie. */
export const securitySchemes = betterAuthSecuritySchemes(authOptions);

/** Finds the session of a call by its cookie. What is read here belongs to the call: without the session, it ends. */
export async function createContext(req: ConvoyRequest, base: ServerContext) {
  const sessions = betterAuth(authFor(base), {
    user: ({ user, session }) => ({
      id: user.id as Id<'user'>,
      name: user.name,
      email: user.email,
      sessionId: session.id as Id<'session'>,
    }),
  });
  return { ...base, ...(await sessions.context(req, base)) };
}
