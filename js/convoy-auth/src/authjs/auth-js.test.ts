/** Auth.js itself, with both of its strategies: sign-in by its routes, cookies, sign-out, expiry. */

import { Auth, type AuthConfig } from '@auth/core';
import type { Adapter, AdapterSession, AdapterUser } from '@auth/core/adapters';
import { encode } from '@auth/core/jwt';
import Credentials from '@auth/core/providers/credentials';
import GitHub from '@auth/core/providers/github';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { authJs } from './auth-js.js';

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

const secret = 'a secret of Auth.js for tests only, of 32 bytes';
const DAY_MS = 24 * 60 * 60 * 1000;
const NAME = 'authjs.session-token';
const github = GitHub({ clientId: 'client', clientSecret: 'secret' });

/** The configuration of an application that keeps its sessions in cookies. */
function inCookies(changes: Partial<AuthConfig> = {}): AuthConfig {
  return {
    secret,
    trustHost: true,
    basePath: '/auth',
    providers: [
      Credentials({
        credentials: { name: {} },
        authorize: ({ name }) => ({ id: 'user_1', name: String(name), email: 'a@example.com' }),
      }),
    ],
    ...changes,
  };
}

const cookiesIn = (response: Response) =>
  response.headers
    .getSetCookie()
    .map((each) => each.split(';', 1)[0])
    .join('; ');

/** Signs in by the routes of Auth.js; returns all cookies, as a browser sends them. */
async function signIn(config: AuthConfig): Promise<string> {
  const csrf = await Auth(new Request('http://localhost:3000/auth/csrf'), config);
  const { csrfToken } = (await csrf.json()) as { csrfToken: string };
  const response = await Auth(
    new Request('http://localhost:3000/auth/callback/credentials', {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', cookie: cookiesIn(csrf) },
      body: new URLSearchParams({ csrfToken, name: 'A. User' }),
    }),
    config,
  );
  expect(response.headers.getSetCookie().join()).toMatch(/authjs\.session-token(\.0)?=/);
  return `${cookiesIn(csrf)}; ${cookiesIn(response)}`;
}

describe('sessions in cookies', () => {
  test('are those of the signed-in user', async () => {
    const before = Date.now();
    const cookie = await signIn(inCookies());
    const { auth, expiresAt } = await authJs(inCookies()).context({ headers: { cookie } }, undefined);
    expect(auth.user).toEqual({ id: 'user_1', name: 'A. User', email: 'a@example.com' });
    expect(Math.abs((expiresAt ?? 0) - before - 30 * DAY_MS)).toBeLessThan(60_000);
  });

  test('expire when the cookie does, and are not extended', async () => {
    const cookie = await signIn(inCookies());
    const adapter = authJs(inCookies());
    const { expiresAt } = await adapter.context({ headers: { cookie } }, undefined);
    vi.useFakeTimers({ toFake: ['Date'] });
    vi.setSystemTime(Date.now() + 20 * DAY_MS);
    expect((await adapter.context({ headers: { cookie } }, undefined)).expiresAt).toBe(expiresAt);
    vi.setSystemTime(Date.now() + 11 * DAY_MS);
    expect((await adapter.context({ headers: { cookie } }, undefined)).auth.user).toBe(null);
  });

  test('have what the callbacks add', async () => {
    const config = inCookies({
      callbacks: {
        jwt: ({ token }) => ({ ...token, role: 'admin', org: 'acme' }),
        session: ({ session, token }) =>
          ({ ...session, user: { ...session.user, role: token.role, organization: token.org } }) as never,
      },
    });
    const cookie = await signIn(config);
    const { auth, expiresAt } = await authJs(config).context({ headers: { cookie } }, undefined);
    expect(auth.user).toMatchObject({ id: 'user_1', role: 'admin', roles: ['admin'], organization: 'acme' });
    expect(expiresAt).toBeGreaterThan(Date.now());
  });

  test('may be in chunks', async () => {
    const config = inCookies({
      callbacks: {
        jwt: ({ token }) => ({ ...token, long: 'x'.repeat(6_000) }),
        session: ({ session, token }) =>
          ({ ...session, user: { ...session.user, long: String(token.long).length } }) as never,
      },
    });
    const cookie = await signIn(config);
    expect(cookie).toContain(`${NAME}.1=`);
    const { auth } = await authJs(config).context({ headers: { cookie } }, undefined);
    expect(auth.user).toMatchObject({ id: 'user_1', long: 6_000 });
  });

  test.each([
    // The first character of the tag: some bits of the last one decode to nothing.
    ['changed', (cookie: string) => cookie.replace(/(?<=\.)[^.](?=[^.]*$)/, (char) => (char === 'A' ? 'B' : 'A'))],
    ['of another secret', () => encode({ token: { sub: 'user_1' }, salt: NAME, secret: 'x'.repeat(32) })],
    ['of another cookie', () => encode({ token: { sub: 'user_1' }, salt: 'authjs.csrf-token', secret })],
    ['cut off', () => 'eyJhbGciOi'],
  ])('are none if they are %s', async (_what, change) => {
    const value = await change(await encode({ token: { sub: 'user_1' }, salt: NAME, secret }));
    const { auth } = await authJs(inCookies()).context({ headers: { cookie: `${NAME}=${value}` } }, undefined);
    expect(auth.user).toBe(null);
  });

  test('are read under the secure name alone, on HTTPS', async () => {
    const salt = `__Secure-${NAME}`;
    const cookie = `${salt}=${await encode({ token: { sub: 'user_2' }, salt, secret })}`;
    const onHttps = authJs(inCookies(), { secureCookies: true });
    expect((await onHttps.context({ headers: { cookie } }, undefined)).auth.user?.id).toBe('user_2');
    const plain = await signIn(inCookies());
    expect((await onHttps.context({ headers: { cookie: plain } }, undefined)).auth.user).toBe(null);
    expect((await authJs(inCookies()).context({ headers: { cookie } }, undefined)).auth.user).toBe(null);
  });

  test('end with the sign-out, which deletes the cookie', async () => {
    const config = inCookies();
    const cookie = await signIn(config);
    const [, csrfToken = ''] = /csrf-token=([0-9a-f]+)/.exec(cookie) ?? [];
    const response = await Auth(
      new Request('http://localhost:3000/auth/signout', {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded', cookie },
        body: new URLSearchParams({ csrfToken }),
      }),
      config,
    );
    const left = cookiesIn(response);
    expect(left).toContain(`${NAME}=`);
    expect((await authJs(config).context({ headers: { cookie: left } }, undefined)).auth.user).toBe(null);
  });
});

/** A database adapter in memory, with one user and one session. */
function inMemory() {
  const user: AdapterUser = {
    id: 'user_1',
    email: 'a@example.com',
    emailVerified: new Date(1_700_000_000_000),
    name: 'A. User',
  };
  const sessions = new Map<string, AdapterSession>();
  const updates = vi.fn();
  const adapter: Adapter = {
    async getSessionAndUser(sessionToken) {
      const session = sessions.get(sessionToken);
      return session === undefined ? null : { session, user };
    },
    async updateSession(session) {
      updates(session);
      return null;
    },
    async deleteSession(sessionToken) {
      sessions.delete(sessionToken);
    },
    createUser: async (created) => created,
    getUser: async () => user,
    getUserByEmail: async () => user,
    getUserByAccount: async () => user,
    updateUser: async () => user,
    linkAccount: async () => undefined,
    createSession: async (session) => session,
  };
  const expires = new Date(Date.now() + 5 * DAY_MS);
  sessions.set('the token', { sessionToken: 'the token', userId: 'user_1', expires });
  const config: AuthConfig = {
    secret,
    trustHost: true,
    adapter,
    providers: [github],
    session: { strategy: 'database' },
  };
  return { config, adapter, user, sessions, updates, expires, req: { headers: { cookie: `${NAME}=the token` } } };
}

describe('sessions in a database', () => {
  test('are those of the signed-in user, with times in milliseconds', async () => {
    const { config, req, expires } = inMemory();
    const { auth, expiresAt } = await authJs(config).context(req, undefined);
    expect(auth.user).toMatchObject({ id: 'user_1', email: 'a@example.com', name: 'A. User' });
    expect(expiresAt).toBe(expires.getTime());
    expect(JSON.stringify(auth.user)).not.toContain('the token');
  });

  test('have only the name, the email and the image of the record, without a callback', async () => {
    const { config, req, user } = inMemory();
    Object.assign(user, { organization: 'victim', roles: ['admin'], role: 'admin', permissions: ['billing'] });
    const { auth } = await authJs(config).context(req, undefined);
    expect(auth.user).toEqual({ id: 'user_1', email: 'a@example.com', name: 'A. User' });
    const callbacks: AuthConfig['callbacks'] = { session: ({ session }) => session };
    const own = await authJs({ ...config, callbacks }).context(req, undefined);
    expect(own.auth.user).toMatchObject({ id: 'user_1', roles: ['admin'], organization: 'victim' });
  });

  test('are not extended by being read', async () => {
    const { config, req, updates } = inMemory();
    // By its own routes, Auth.js would extend this session: 25 of its 30 days are over.
    await Auth(new Request('http://localhost:3000/auth/session', req), { ...config, basePath: '/auth' });
    expect(updates).toHaveBeenCalledTimes(1);
    await authJs(config).context(req, undefined);
    expect(updates).toHaveBeenCalledTimes(1);
  });

  test('end when they are deleted, and when they expire', async () => {
    const { config, req, sessions } = inMemory();
    vi.useFakeTimers({ toFake: ['Date'] });
    vi.setSystemTime(Date.now() + 6 * DAY_MS);
    expect((await authJs(config).context(req, undefined)).auth.user).toBe(null);
    expect(sessions.size).toBe(0);
    vi.useRealTimers();
    expect((await authJs(config).context(req, undefined)).auth.user).toBe(null);
  });

  test('are not missing if the database is away', async () => {
    // Where Auth.js reports its errors.
    vi.spyOn(console, 'error').mockImplementation(() => {});
    const { config, adapter, req } = inMemory();
    adapter.getSessionAndUser = async () => Promise.reject(new Error('connection refused'));
    await expect(authJs(config).context(req, undefined)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});

test('an error of a callback is that of the call, not a missing session', async () => {
  const fault = new Error('a mistake in the callback');
  const callbacks = {
    session() {
      throw fault;
    },
  };
  const { config, req } = inMemory();
  await expect(authJs({ ...config, callbacks }).context(req, undefined)).rejects.toBe(fault);
  const cookie = await signIn(inCookies());
  await expect(authJs(inCookies({ callbacks })).context({ headers: { cookie } }, undefined)).rejects.toBe(fault);
});

test('a configuration without a secret is refused', () => {
  expect(() => authJs({ providers: [github] })).toThrow('Set `secret`');
  vi.stubEnv('AUTH_SECRET', secret);
  expect(() => authJs({ providers: [github] })).not.toThrow();
});

test('without a session cookie, Auth.js is not asked', async () => {
  const { config, adapter } = inMemory();
  adapter.getSessionAndUser = vi.fn(async () => null);
  const { auth } = await authJs(config).context({ headers: { cookie: 'theme=dark' } }, undefined);
  expect(auth.user).toBe(null);
  expect(adapter.getSessionAndUser).not.toHaveBeenCalled();
});

test('the user may be the program’s own', async () => {
  const cookie = await signIn(inCookies());
  const adapter = authJs(inCookies(), { user: (session, { id }) => ({ id, email: String(session.user?.email) }) });
  const { auth } = await adapter.context({ headers: { cookie } }, undefined);
  const email: string | undefined = auth.user?.email;
  expect(email).toBe('a@example.com');
});
