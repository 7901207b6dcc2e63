/** Better Auth itself, on its memory adapter: sign-up, cookies, sign-out, expiry. */

import { betterAuth as createBetterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';
import { admin, bearer as bearerPlugin, organization } from 'better-auth/plugins';
import { afterEach, describe, expect, expectTypeOf, test, vi } from 'vitest';
import { compose } from './adapter.js';
import { anonymous } from './anonymous.js';
import { betterAuth } from './better-auth.js';
import { bearer } from './jwt/issuer.test-kit.js';

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const secret = 'a secret of Better Auth for tests only';
const DAY_MS = 24 * 60 * 60 * 1000;

function createInstance() {
  const stored: Record<string, Record<string, unknown>[]> = {
    ...{ user: [], session: [], account: [], verification: [] },
    ...{ organization: [], member: [], invitation: [] },
  };
  const instance = createBetterAuth({
    secret,
    baseURL: 'http://localhost:3000',
    database: memoryAdapter(stored),
    emailAndPassword: { enabled: true },
    session: { cookieCache: { enabled: true, maxAge: 300 } },
    user: { additionalFields: { plan: { type: 'string', defaultValue: 'free', input: false } } },
    plugins: [organization(), admin(), bearerPlugin()],
  });
  return { instance, stored };
}

/** Signs up; returns the cookies as a browser sends them, and the token for a native app. */
async function signUp(instance: { handler(request: Request): Promise<Response> }, fields: object = {}) {
  const response = await instance.handler(
    new Request('http://localhost:3000/api/auth/sign-up/email', {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin: 'http://localhost:3000' },
      body: JSON.stringify({ name: 'A. User', email: 'a@example.com', password: 'correct horse battery', ...fields }),
    }),
  );
  expect(response.status).toBe(200);
  const cookies = response.headers.getSetCookie();
  const cookie = cookies.map((each) => each.split(';', 1)[0]).join('; ');
  return { cookies, cookie, token: response.headers.get('set-auth-token') ?? '' };
}

describe('a session', () => {
  test('is that of the signed-in user, with times in milliseconds', async () => {
    const { instance, stored } = createInstance();
    const before = Date.now();
    const { cookie } = await signUp(instance);
    const { auth, expiresAt } = await betterAuth(instance).context({ headers: { cookie } }, undefined);
    expect(auth.user).toMatchObject({ email: 'a@example.com', name: 'A. User', emailVerified: false, plan: 'free' });
    expect(auth.user?.roles).toEqual(['user']);
    expect(auth.user?.id).toBe(stored.user?.[0]?.id);
    expect(auth.user?.createdAt).toBeGreaterThanOrEqual(before - 1_000);
    expect((expiresAt ?? 0) - before).toBeGreaterThan(6 * DAY_MS);
    expect(JSON.stringify(auth.user)).not.toContain(stored.session?.[0]?.token);
  });

  test('that is deleted ends at once, in spite of the cookie cache', async () => {
    const { instance, stored } = createInstance();
    const { cookie, cookies } = await signUp(instance);
    expect(cookies.some((each) => each.includes('session_data='))).toBe(true);
    stored.session?.splice(0);
    const { auth } = await betterAuth(instance).context({ headers: { cookie } }, undefined);
    expect(auth.user).toBe(null);
  });

  test('ends with the sign-out', async () => {
    const { instance } = createInstance();
    const { cookie } = await signUp(instance);
    const adapter = betterAuth(instance);
    expect((await adapter.context({ headers: { cookie } }, undefined)).auth.user).not.toBe(null);
    await instance.api.signOut({ headers: new Headers({ cookie }) });
    expect((await adapter.context({ headers: { cookie } }, undefined)).auth.user).toBe(null);
  });

  test('ends when it expires', async () => {
    const { instance } = createInstance();
    const { cookie } = await signUp(instance);
    vi.useFakeTimers({ toFake: ['Date'] });
    vi.setSystemTime(Date.now() + 8 * DAY_MS);
    expect((await betterAuth(instance).context({ headers: { cookie } }, undefined)).auth.user).toBe(null);
  });

  test('is not extended by being read', async () => {
    const { instance, stored } = createInstance();
    const { cookie } = await signUp(instance);
    const ends = stored.session?.[0]?.expiresAt;
    vi.useFakeTimers({ toFake: ['Date'] });
    vi.setSystemTime(Date.now() + 3 * DAY_MS);
    const { auth, expiresAt } = await betterAuth(instance).context({ headers: { cookie } }, undefined);
    expect(auth.user).not.toBe(null);
    expect(stored.session?.[0]?.expiresAt).toEqual(ends);
    expect(expiresAt).toBe((ends as Date).getTime());
  });

  test('with a changed token is none', async () => {
    const { instance } = createInstance();
    const { cookie } = await signUp(instance);
    const changed = cookie.replace(/(session_token=)(.)/, (_, name, char) => name + (char === 'A' ? 'B' : 'A'));
    expect(changed).not.toBe(cookie);
    expect((await betterAuth(instance).context({ headers: { cookie: changed } }, undefined)).auth.user).toBe(null);
  });

  test('has the active organization and the roles', async () => {
    const { instance, stored } = createInstance();
    const { cookie } = await signUp(instance);
    await instance.api.createOrganization({ body: { name: 'Acme', slug: 'acme' }, headers: new Headers({ cookie }) });
    Object.assign(stored.user?.[0] ?? {}, { role: 'admin,editor' });
    const { auth } = await betterAuth(instance).context({ headers: { cookie } }, undefined);
    expect(auth.user?.organization).toBe(stored.organization?.[0]?.id);
    expect(auth.user?.roles).toEqual(['admin', 'editor']);
    expect([auth.can('editor'), auth.can('owner')]).toEqual([true, false]);
  });
});

describe('what a user has chosen is no right', () => {
  /** Signs up with fields that the user may set, and may set others of the session. */
  async function signedUp(plugins: Parameters<typeof createBetterAuth>[0]['plugins'] = []) {
    const text = { type: 'string', required: false } as const;
    const texts = { type: 'string[]', required: false } as const;
    const instance = createBetterAuth({
      secret,
      baseURL: 'http://localhost:3000',
      database: memoryAdapter({ user: [], session: [], account: [], verification: [], member: [], organization: [] }),
      emailAndPassword: { enabled: true },
      user: {
        additionalFields: { organization: text, roles: texts, permissions: texts, role: text, impersonator: text },
      },
      session: { additionalFields: { activeOrganizationId: text, impersonatedBy: text } },
      plugins: plugins ?? [],
    });
    const chosen = { organization: 'victim', roles: ['admin'], permissions: ['billing'], impersonator: 'x' };
    const isAdminPlugin = plugins?.some(({ id }) => id === 'admin');
    const { cookie } = await signUp(instance, { ...chosen, ...(isAdminPlugin ? {} : { role: 'admin' }) });
    const update = async (body: object) => {
      const response = await instance.handler(
        new Request('http://localhost:3000/api/auth/update-session', {
          method: 'POST',
          headers: { 'content-type': 'application/json', origin: 'http://localhost:3000', cookie },
          body: JSON.stringify(body),
        }),
      );
      return response.status;
    };
    const userNow = async () => (await betterAuth(instance).context({ headers: { cookie } }, undefined)).auth.require();
    return { update, userNow };
  }

  test('in fields of the user', async () => {
    const user = await (await signedUp()).userNow();
    expect(user).toMatchObject({ email: 'a@example.com', role: 'admin' });
    for (const name of ['organization', 'roles', 'permissions', 'impersonator']) expect(user).not.toHaveProperty(name);
  });

  test('in fields of the session', async () => {
    const { update, userNow } = await signedUp();
    expect(await update({ activeOrganizationId: 'victim', impersonatedBy: 'root' })).toBe(200);
    const user = await userNow();
    for (const name of ['organization', 'impersonator']) expect(user).not.toHaveProperty(name);
  });

  test('beside the plugins that store the rights', async () => {
    const { update, userNow } = await signedUp([organization(), admin()]);
    expect(await update({ activeOrganizationId: 'victim' })).toBe(400);
    const user = await userNow();
    expect(user.roles).toEqual(['user']);
    for (const name of ['organization', 'permissions', 'impersonator']) expect(user).not.toHaveProperty(name);
  });
});

test('a field `role` that only the server sets counts as roles', async () => {
  const instance = createBetterAuth({
    secret,
    baseURL: 'http://localhost:3000',
    database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
    emailAndPassword: { enabled: true },
    user: { additionalFields: { role: { type: 'string', defaultValue: 'editor', input: false } } },
  });
  const { cookie } = await signUp(instance);
  const { auth } = await betterAuth(instance).context({ headers: { cookie } }, undefined);
  expect(auth.user?.roles).toEqual(['editor']);
});

test('the type of the user is that of the instance', async () => {
  const { instance } = createInstance();
  const { cookie } = await signUp(instance);
  const { auth } = await betterAuth(instance).context({ headers: { cookie } }, undefined);
  const user = auth.require();
  expectTypeOf(user.createdAt).toEqualTypeOf<number>();
  expectTypeOf(user.plan).toExtend<string | null | undefined>();
  expectTypeOf(user.id).toEqualTypeOf<string>();
  const own = betterAuth(instance, { user: ({ session }, { id }) => ({ id, session: session.id }) });
  expectTypeOf((await own.context({ headers: { cookie } }, undefined)).auth.require().session).toEqualTypeOf<string>();
});

describe('without a session, a caller is not signed in', () => {
  test('without cookies', async () => {
    expect((await betterAuth(createInstance().instance).context({ headers: {} }, undefined)).auth.user).toBe(null);
  });

  test('with other cookies', async () => {
    const { auth } = await betterAuth(createInstance().instance).context(
      { headers: { cookie: 'theme=dark' } },
      undefined,
    );
    expect(auth.user).toBe(null);
  });
});

describe('a session token of a native app', () => {
  test('is accepted with `bearer`', async () => {
    const { instance } = createInstance();
    const { token } = await signUp(instance);
    const { auth } = await betterAuth(instance, { bearer: true }).context(bearer(token), undefined);
    expect(auth.user?.email).toBe('a@example.com');
  });

  test('is refused once the session has ended', async () => {
    const { instance, stored } = createInstance();
    const { token } = await signUp(instance);
    stored.session?.splice(0);
    const context = betterAuth(instance, { bearer: true }).context(bearer(token), undefined);
    await expect(context).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      message: expect.stringContaining('Accepted: a session of Better Auth that has not ended.'),
    });
  });

  test('leaves other tokens to other adapters', async () => {
    const { instance } = createInstance();
    const guests = anonymous({ secret });
    const auth = compose(betterAuth(instance, { bearer: true }), guests);
    const guest = await guests.issue();
    expect((await auth.context(bearer(guest.token), undefined)).auth.user?.id).toBe(guest.user.id);
  });

  test('decides over a cookie', async () => {
    const { instance } = createInstance();
    const { cookie } = await signUp(instance);
    const context = betterAuth(instance, { bearer: true }).context(bearer('x', { cookie }), undefined);
    await expect(context).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });

  test('is refused without `bearer`', async () => {
    const { instance } = createInstance();
    const { token, cookie } = await signUp(instance);
    await expect(betterAuth(instance).context(bearer(token, { cookie }), undefined)).rejects.toThrow(
      'no accepted kind',
    );
  });
});

test('a database that is away is not a missing session', async () => {
  // Where Better Auth reports its errors.
  vi.spyOn(console, 'error').mockImplementation(() => {});
  const { instance, stored } = createInstance();
  const { cookie } = await signUp(instance);
  Object.defineProperty(stored, 'session', {
    get() {
      throw new Error('connection refused');
    },
  });
  const context = betterAuth(instance).context({ headers: { cookie } }, undefined);
  await expect(context).rejects.toMatchObject({ code: 'UNAVAILABLE' });
});

test('an instance for several hosts finds its cookie', async () => {
  const stored = { user: [], session: [], account: [], verification: [] };
  const instance = createBetterAuth({
    secret,
    baseURL: { allowedHosts: ['localhost:3000', 'app.example.com'] },
    database: memoryAdapter(stored),
    emailAndPassword: { enabled: true },
  });
  const { cookie } = await signUp(instance);
  const headers = { cookie, host: 'localhost:3000' };
  expect((await betterAuth(instance).context({ headers }, undefined)).auth.user?.email).toBe('a@example.com');
});

test('a session without a database is in its cookie', async () => {
  const instance = createBetterAuth({
    secret,
    baseURL: 'http://localhost:3000',
    emailAndPassword: { enabled: true },
    session: { cookieCache: { enabled: true, maxAge: 300 } },
  });
  const { cookie } = await signUp(instance);
  const { auth } = await betterAuth(instance).context({ headers: { cookie } }, undefined);
  expect(auth.user?.email).toBe('a@example.com');
});
