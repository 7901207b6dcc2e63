/**
 * `authJs`: sessions of Auth.js, read by its own endpoint, so that both of its strategies and all callbacks work.
 *
 * Only the session's cookie is passed on. Nothing is written: the endpoint would extend a session that it reads, but its
 * cookie could not be sent, and the session would seem to last longer than the cookie. The routes of Auth.js extend it.
 */

import { Auth, type AuthConfig, setEnvDefaults } from '@auth/core';
import type { Session } from '@auth/core/types';
import type { AuthUser } from '@avvos/convoy';
import { type AuthAdapter, defineAdapter } from '../adapter.js';
import { cookieHeader } from '../credentials.js';
import { BOOLEAN, checkOptions, FUNCTION, kindOf, type OptionRules } from '../options.js';
import { plainData } from '../plain-data.js';
import { unauthorized, unavailable } from '../refusals.js';
import { sessionScheme } from '../security-schemes.js';

/** A session as the callback `session` returns it; `user` has the fields that the callback adds. */
export interface AuthJsSession {
  /** The user. */
  readonly user?: Readonly<Record<string, unknown>> | undefined;
  /** Any other member. */
  readonly [member: string]: unknown;
}

/** The user of a session: `session.user` with dates in milliseconds, and its id. */
export interface AuthJsUser extends AuthUser {
  /** The name. */
  readonly name?: string | null;
  /** The email address. */
  readonly email?: string | null;
  /** The URL of an image. */
  readonly image?: string | null;
}

/** The options of `authJs`. */
export interface AuthJsOptions<User extends AuthUser = AuthJsUser> {
  /**
   * Whether the cookies have the prefix `__Secure-`, as on HTTPS. Default: `useSecureCookies` of the configuration, or the
   * scheme of `AUTH_URL`, or true if `NODE_ENV` is `production`.
   */
  readonly secureCookies?: boolean;
  /** The user of a session. `standard` is the user by default. */
  readonly user?: (session: AuthJsSession, standard: AuthJsUser) => User;
}

/** What one read of a session has found. */
interface SessionRead {
  /** Milliseconds since 1970. */
  expiresAt?: number;
  userId?: string | undefined;
  session?: AuthJsSession;
  /** An error of the database, which Auth.js reports to its logger only. */
  storageError?: Error;
  /** An error of a callback. */
  callbackError?: unknown;
}

const OPTIONS: OptionRules<AuthJsOptions> = { secureCookies: BOOLEAN, user: FUNCTION };

/** More seconds than any session lasts, so that none is due to be extended. */
const NEVER = 1e11;

/**
 * Accepts sessions of Auth.js, given the configuration that is passed to `NextAuth`, `SvelteKitAuth` or `Auth`. Without a
 * session, or with one that has ended, the caller is not signed in.
 *
 * @example
 * export const auth = authJs(authConfig);
 */
export function authJs<User extends AuthUser = AuthJsUser>(
  config: Omit<AuthConfig, 'raw'>,
  options: AuthJsOptions<User> = {},
): AuthAdapter<User> {
  if (!Array.isArray(config?.providers)) {
    const given = typeof config === 'object' && config !== null ? 'an object without it' : kindOf(config);
    throw new TypeError(
      `authJs takes the configuration of Auth.js, an object with the list \`providers\`; ${given} was given.`,
    );
  }
  checkOptions('authJs(config, { … })', options, OPTIONS);
  const complete: Omit<AuthConfig, 'raw'> = { ...config };
  setEnvDefaults(process.env, complete, true);
  if (!complete.secret?.length) {
    throw new TypeError('Set `secret` in the configuration of Auth.js, or AUTH_SECRET: that of the pages.');
  }
  const isSecure = options.secureCookies ?? config.useSecureCookies ?? isServedSecurely();
  const cookieName = config.cookies?.sessionToken?.name ?? `${isSecure ? '__Secure-' : ''}authjs.session-token`;
  // Without `user`, `User` is its default.
  const userOf = options.user ?? ((_: AuthJsSession, user: AuthJsUser) => user as unknown as User);
  return defineAdapter({
    accepts: 'a session of Auth.js',
    securitySchemes: { session: sessionScheme(cookieName, 'Auth.js') },
    async identify(req) {
      const cookie = cookiesOf(cookieHeader(req), cookieName);
      if (cookie === null) return null;
      const { session, userId, expiresAt } = await readSession(complete, cookie, isSecure);
      if (session === undefined || expiresAt === undefined) return null;
      return { user: userOf(session, userIn(session, userId)), expiresAt };
    },
  });
}

function isServedSecurely(): boolean {
  const { AUTH_URL, NEXTAUTH_URL, NODE_ENV } = process.env;
  const url = AUTH_URL ?? NEXTAUTH_URL;
  return url === undefined ? NODE_ENV === 'production' : url.startsWith('https:');
}

/** The cookies of the session among all: one, or the chunks of a long one. */
function cookiesOf(header: string | null, name: string): string | null {
  const cookies = (header ?? '').split(';').map((each) => each.trim());
  const own = cookies.filter((each) => {
    const [key = ''] = each.split('=', 1);
    return key === name || (key.startsWith(`${name}.`) && /^\d+$/.test(key.slice(name.length + 1)));
  });
  return own.length === 0 ? null : own.join('; ');
}

async function readSession(config: Omit<AuthConfig, 'raw'>, cookie: string, isSecure: boolean): Promise<SessionRead> {
  const read: SessionRead = {};
  const request = new Request(`${isSecure ? 'https' : 'http'}://localhost/auth/session`, { headers: { cookie } });
  const response = await Auth(request, readingConfig(config, isSecure, read));
  if (read.callbackError !== undefined) throw read.callbackError;
  if (read.storageError !== undefined) {
    throw unavailable('The session could not be read. Is the database of Auth.js reachable?', read.storageError);
  }
  if (!response.ok) throw new Error(`Auth.js has not read a session (status ${response.status}); its log says why.`);
  return read;
}

/** The configuration for one read of a session: it writes nothing, and notes what it finds in `read`. */
function readingConfig(config: Omit<AuthConfig, 'raw'>, isSecure: boolean, read: SessionRead): AuthConfig {
  const { callbacks, events: _, ...rest } = config;
  return {
    ...rest,
    basePath: '/auth',
    trustHost: true,
    useSecureCookies: isSecure,
    session: { ...config.session, updateAge: NEVER },
    jwt: { ...config.jwt, encode: async () => '' },
    logger: {
      ...config.logger,
      error(error) {
        const { type } = error as { readonly type?: string };
        if (type === 'SessionTokenError') read.storageError = error;
        // A cookie that does not decrypt is a caller who is not signed in; errors of callbacks are noted there.
        else if (type !== 'JWTSessionError') (config.logger?.error ?? console.error)(error);
      },
    },
    callbacks: {
      ...callbacks,
      async jwt(input) {
        const { exp } = input.token;
        if (typeof exp === 'number') read.expiresAt = exp * 1000;
        return noting(read, () => callbacks?.jwt?.(input) ?? input.token);
      },
      async session(input) {
        // The type is that of both strategies at once; each passes only its part.
        const { user, token, session } = input as {
          readonly user?: { readonly id?: string };
          readonly token?: { readonly sub?: string };
          readonly session: StoredSession;
        };
        read.userId = user?.id ?? token?.sub;
        // With the strategy `jwt`, `session.expires` is when an extended session would end.
        if (token === undefined) read.expiresAt = new Date(session.expires).getTime();
        const result = await noting(read, () => callbacks?.session?.(input) ?? shownSession(session));
        read.session = result as unknown as AuthJsSession;
        return result;
      },
    },
  };
}

/** A session before its callback. With a database, `user` is the whole record. */
interface StoredSession {
  readonly user?: { readonly name?: unknown; readonly email?: unknown; readonly image?: unknown };
  readonly expires: Date | string;
}

/** What Auth.js shows without a callback: other fields of the record may be those that users fill in by themselves. */
function shownSession({ user, expires }: StoredSession) {
  const { name, email, image } = user ?? {};
  return { user: { name, email, image }, expires: new Date(expires).toISOString() } as Session;
}

/** Runs a callback of the program. Auth.js would take its error for a missing session. */
async function noting<Result>(read: SessionRead, run: () => Result): Promise<Awaited<Result>> {
  try {
    return await run();
  } catch (error) {
    read.callbackError = error;
    throw error;
  }
}

function userIn({ user = {} }: AuthJsSession, userId: string | undefined): AuthJsUser {
  const id = typeof user.id === 'string' ? user.id : userId;
  if (id === undefined || id === '') {
    throw unauthorized(
      'The session names no user. Return an `id` from the provider, or set `token.sub` in `callbacks.jwt`.',
    );
  }
  const { role } = user;
  return { ...(typeof role === 'string' ? { roles: [role] } : {}), ...plainData(user), id };
}
