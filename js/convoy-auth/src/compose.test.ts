/** Several adapters on one request: which decides, and what contradicts. */

import type { ConvoyRequest } from '@avvos/convoy';
import { SignJWT } from 'jose';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { compose, defineAdapter, type UserOf } from './adapter.js';
import { anonymous } from './anonymous.js';
import { apiKeys, createApiKey } from './api-keys.js';
import { bearer, seconds } from './jwt/issuer.test-kit.js';
import { jwt } from './jwt/jwt.js';

const secret = 'an application secret of 32 bytes or more';
const issuers = ['https://first.example', 'https://second.example'] as const;
const [first, second] = issuers.map((issuer) => jwt({ issuer, audience: 'api', secret }));
const { key, hash } = createApiKey({ prefix: 'acme' });
const keys = apiKeys({
  prefix: 'acme',
  find: async (asked, base: { readonly now: number }) => (asked === hash ? { user: { id: `key ${base.now}` } } : null),
});
const session = defineAdapter({
  accepts: 'a session',
  identify: async ({ headers }) =>
    headers.cookie === undefined ? null : { user: headers.cookie === 'ended' ? null : { id: 'cookie', name: 'C' } },
});
const guests = anonymous({ secret: 'another secret of 32 bytes or more' });
const auth = compose(first as NonNullable<typeof first>, second as NonNullable<typeof second>, keys, session, guests);

const token = (iss: string, sub = 'token', aud = 'api') =>
  new SignJWT({ iss, sub, aud, exp: seconds() + 60 })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(secret));

const idOf = (req: ConvoyRequest) =>
  auth.context(req, { now: 7 }).then(
    ({ auth: made }) => made.user?.id ?? null,
    (error) => `${error.code}: ${error.message}`,
  );

describe('the adapter that finds its credentials decides', () => {
  test.each(issuers)('a token of %s', async (issuer) => {
    expect(await idOf(bearer(await token(issuer)))).toBe('token');
  });

  test('an API key, in either header', async () => {
    expect(await idOf(bearer(key))).toBe('key 7');
    expect(await idOf({ headers: { 'x-api-key': key } })).toBe('key 7');
  });

  test('a cookie', async () => {
    expect(await idOf({ headers: { cookie: 'session' } })).toBe('cookie');
  });

  test('a guest', async () => {
    const guest = await guests.issue();
    expect(await idOf(bearer(guest.token))).toBe(guest.user.id);
  });

  test('without credentials, the caller is not signed in', async () => {
    expect(await idOf({ headers: {} })).toBe(null);
  });
});

describe('bad credentials never become a caller who is not signed in', () => {
  test('a token of another issuer', async () => {
    const answer = await idOf(bearer(await token('https://third.example')));
    expect(answer).toMatch('UNAUTHORIZED: The credentials in the authorization header are of no accepted kind.');
    expect(answer).toMatch('a token of https://first.example, a token of https://second.example, an API key acme_…');
  });

  test('a bad token, beside a good cookie', async () => {
    const [header, payload] = (await token(issuers[0])).split('.');
    const req = bearer(`${header}.${payload}.AAAA`, { cookie: 'session' });
    expect(await idOf(req)).toMatch('The signature of the token is wrong.');
  });

  test('an opaque token', async () => {
    expect(await idOf(bearer('opaque', { cookie: 'session' }))).toMatch('of no accepted kind');
  });

  test('a bearer token, where only cookies are accepted', async () => {
    await expect(session.context(bearer(key, { cookie: 'session' }), undefined)).rejects.toThrow('Accepted: none.');
  });
});

describe('an answer that is no identity is a mistake, not a caller who is not signed in', () => {
  const answering = (answer: unknown) => defineAdapter({ accepts: 'anything', identify: async () => answer as null });

  test('undefined', async () => {
    const context = answering(undefined).context({ headers: {} }, undefined);
    await expect(context).rejects.toThrow('`identify` of the adapter for anything returned undefined');
  });

  test('an identity without a user', async () => {
    for (const answer of [{}, { user: undefined }, { user: Promise.resolve({ id: 'u' }) }]) {
      await expect(answering(answer).context({ headers: {} }, undefined)).rejects.toThrow(TypeError);
    }
    expect((await answering({ user: null }).context({ headers: {} }, undefined)).auth.user).toBe(null);
  });
});

describe('two credentials', () => {
  test('in two headers are refused, also if both are good', async () => {
    const req = bearer(await token(issuers[0]), { 'x-api-key': key });
    expect(await idOf(req)).toBe(
      'UNAUTHORIZED: The request has two credentials, in the headers authorization and x-api-key. Send one of them.',
    );
  });

  test('in a header and a cookie: the header decides, in any order of the adapters', async () => {
    expect(await idOf(bearer(await token(issuers[0]), { cookie: 'session' }))).toBe('token');
    expect(await idOf(bearer(key, { cookie: 'session' }))).toBe('key 7');
    const { auth: made } = await compose(session, keys).context(bearer(key, { cookie: 'session' }), { now: 1 });
    expect(made.user?.id).toBe('key 1');
  });

  test('that no adapter reads are no credentials', async () => {
    const { auth: made } = await session.context({ headers: { 'x-api-key': 'of a gateway', cookie: 'session' } }, null);
    expect(made.user?.id).toBe('cookie');
  });
});

test('a composed adapter can be composed', async () => {
  const { auth: made } = await compose(compose(session, keys), guests).context(bearer(key), { now: 2 });
  expect(made.user?.id).toBe('key 2');
});

test('the user is one of the adapters’ users, and the base is what all of them need', () => {
  type User = NonNullable<Awaited<ReturnType<typeof auth.context>>['auth']['user']>;
  expectTypeOf<Extract<User, { isAnonymous: true }>['isAnonymous']>().toEqualTypeOf<true>();
  expectTypeOf<UserOf<typeof auth>>().toEqualTypeOf<User>();
  expectTypeOf(auth.context).parameter(1).toExtend<{ readonly now: number }>();
  // @ts-expect-error `apiKeys` needs `now`.
  void (() => auth.context({ headers: {} }, {}));
});

describe('two issuers may give one id to different users', () => {
  const composed = (prefixes: readonly string[]) => {
    const [a, b] = issuers.map((issuer, at) => jwt({ issuer, audience: 'api', secret, idPrefix: prefixes[at] ?? '' }));
    return compose(a as NonNullable<typeof a>, b as NonNullable<typeof b>);
  };
  const idsIn = (prefixes: readonly string[]) =>
    Promise.all(
      issuers.map(async (issuer) => {
        const { auth: made } = await composed(prefixes).context(bearer(await token(issuer, '42')), undefined);
        return made.user?.id;
      }),
    );

  test('which `idPrefix` tells apart', async () => {
    expect(await idsIn(['first:', 'second:'])).toEqual(['first:42', 'second:42']);
    expect(await idsIn(['', 'second:'])).toEqual(['42', 'second:42']);
  });

  test('also for `user`, whose claims are those of the token', async () => {
    const user = ({ sub }: { sub: string }, standard: { id: string }) => ({ id: standard.id, sub });
    const adapter = jwt({ issuer: issuers[0], audience: 'api', secret, idPrefix: 'first:', user });
    const { auth: made } = await adapter.context(bearer(await token(issuers[0], '42')), undefined);
    expect(made.user).toEqual({ id: 'first:42', sub: '42' });
  });

  test('if it is a text', () => {
    const idPrefix = 1 as never;
    expect(() => jwt({ issuer: issuers[0], audience: 'api', secret, idPrefix })).toThrow('`idPrefix` must be a text');
  });
});

describe('guests', () => {
  test('have an id that lasts, and a token that others cannot make', async () => {
    const { token, user, expiresAt } = await guests.issue();
    expect(user.id).toMatch(/^guest_[0-9a-f-]{36}$/);
    const context = await guests.context(bearer(token), undefined);
    expect(context).toMatchObject({ auth: { user: { id: user.id, isAnonymous: true } }, expiresAt });
    const others = anonymous({ secret: 'a third secret of 32 bytes or more' });
    await expect(others.context(bearer(token), undefined)).rejects.toThrow('The signature of the token is wrong.');
  });

  test('are remembered for 30 days by default', async () => {
    const days = ((await guests.issue()).expiresAt - Date.now()) / 86_400_000;
    expect(days).toBeCloseTo(30, 3);
    expect(() => anonymous({ secret, days: 0 })).toThrow('`days` must be a positive number');
    expect(() => anonymous({ secret: '' })).toThrow('Is an environment variable unset?');
  });

  test('are verified for a user who signs up', async () => {
    const { token, user } = await guests.issue();
    expect(await guests.verify(token)).toEqual(user);
    await expect(guests.verify('x')).rejects.toThrow('not the token of a guest');
    await expect(guests.verify('')).rejects.toThrow('not a single token');
  });

  test('cannot use tokens that the same secret has signed for something else', async () => {
    const same = anonymous({ secret });
    await expect(same.verify(await token('convoy:guest'))).rejects.toThrow('another audience');
    await expect(same.verify(await token('convoy:guest', 'x', 'convoy:guest'))).rejects.toThrow('another type');
  });
});
