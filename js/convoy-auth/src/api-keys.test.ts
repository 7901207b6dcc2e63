import { ConvoyError } from '@avvos/convoy';
import { describe, expect, test, vi } from 'vitest';
import { apiKeys, createApiKey, type FoundApiKey, hashApiKey, MAX_PREFIX_CHARS } from './api-keys.js';
import { bearer } from './jwt/issuer.test-kit.js';

const { key, hash } = createApiKey({ prefix: 'acme_live' });
const user = { id: 'u1', roles: ['reader'] };

function adapterFor(found: FoundApiKey | null = { user }) {
  const find = vi.fn(async (asked: string, base: { readonly db: string }) =>
    asked === hash && base.db === 'the database' ? found : null,
  );
  const auth = apiKeys({ prefix: 'acme_live', find });
  return { find, context: (req: Parameters<typeof auth.context>[0]) => auth.context(req, { db: 'the database' }) };
}

const refused = async (req: ReturnType<typeof bearer>, found?: FoundApiKey | null) => {
  const { find, context } = adapterFor(found);
  const error: unknown = await context(req).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ConvoyError);
  expect((error as ConvoyError).code).toBe('UNAUTHORIZED');
  expect((error as ConvoyError).message).not.toContain(key.slice(10, 30));
  return { message: (error as ConvoyError).message, lookups: find.mock.calls.length };
};

describe('a key', () => {
  test('has its prefix, 256 random bits and a checksum', () => {
    expect(key).toMatch(/^acme_live_[0-9A-Za-z]{49}$/);
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    expect(hashApiKey(key)).toBe(hash);
  });

  test('is random, and every digit occurs', () => {
    const bodies = Array.from({ length: 200 }, () => createApiKey({ prefix: 'a' }).key.slice(2, 45));
    expect(new Set(bodies).size).toBe(200);
    expect(new Set(bodies.join('')).size).toBe(62);
  });

  test('has a prefix of the limit', async () => {
    const prefix = 'a'.repeat(MAX_PREFIX_CHARS);
    const longest = createApiKey({ prefix });
    const auth = apiKeys({ prefix, find: async (hash) => (hash === longest.hash ? { user: { id: 'u1' } } : null) });
    expect((await auth.context(bearer(longest.key), undefined)).auth.user?.id).toBe('u1');
  });

  const tooLong = 'a'.repeat(MAX_PREFIX_CHARS + 1);
  test.each(['', 'Acme', 'acme_', '_acme', 'a__b', 'a-b', tooLong])('has no prefix %j', (prefix) => {
    expect(() => createApiKey({ prefix })).toThrow('The prefix of an API key');
    expect(() => apiKeys({ prefix, find: async () => null })).toThrow('The prefix of an API key');
  });
});

describe('is accepted', () => {
  test('as a bearer token', async () => {
    const { auth, expiresAt } = await adapterFor().context(bearer(key));
    expect([auth.user, expiresAt]).toEqual([user, undefined]);
  });

  test('in a header of its own', async () => {
    expect((await adapterFor().context({ headers: { 'x-api-key': key } })).auth.user).toEqual(user);
  });

  test('until it expires or is revoked', async () => {
    const expiresAt = Date.now() + 60_000;
    expect((await adapterFor({ user, expiresAt }).context(bearer(key))).expiresAt).toBe(expiresAt);
    const revokedAt = Date.now() + 30_000;
    expect((await adapterFor({ user, expiresAt, revokedAt }).context(bearer(key))).expiresAt).toBe(revokedAt);
    const unlimited = await adapterFor({ user, expiresAt: null, revokedAt: null }).context(bearer(key));
    expect(unlimited.expiresAt).toBe(undefined);
  });
});

describe('is refused', () => {
  test('if it is unknown', async () => {
    const other = createApiKey({ prefix: 'acme_live' }).key;
    expect(await refused(bearer(other))).toEqual({ message: 'The API key does not exist.', lookups: 1 });
  });

  test('if it has expired', async () => {
    const found = { user, expiresAt: Date.now() };
    expect(await refused(bearer(key), found)).toEqual({ message: 'The API key has expired.', lookups: 1 });
  });

  test('if it was revoked', async () => {
    const found = { user, revokedAt: Date.now() };
    expect(await refused(bearer(key), found)).toEqual({ message: 'The API key was revoked.', lookups: 1 });
  });

  test.each([
    ['cut off', key.slice(0, -1)],
    ['too long', `${key}A`],
    ['mistyped', key.slice(0, 20) + (key[20] === 'A' ? 'B' : 'A') + key.slice(21)],
    ['with other characters', `${key.slice(0, -1)}-`],
    ['without a body', 'acme_live_'],
  ])('if it is malformed, without a lookup: %s', async (_what, malformed) => {
    expect(await refused(bearer(malformed))).toMatchObject({
      message: expect.stringContaining('malformed'),
      lookups: 0,
    });
  });

  test('if its prefix is another, without a lookup', async () => {
    const foreign = createApiKey({ prefix: 'other' }).key;
    expect(await refused({ headers: { 'x-api-key': foreign } } as never)).toMatchObject({ lookups: 0 });
    expect(await refused(bearer(foreign))).toMatchObject({
      message: expect.stringContaining('of no accepted kind. Accepted: an API key acme_live_…'),
      lookups: 0,
    });
  });

  test('if the request has two', async () => {
    const two = bearer(key, { 'x-api-key': key });
    expect(await refused(two)).toMatchObject({ message: expect.stringContaining('two credentials'), lookups: 0 });
    const twice = { headers: { 'x-api-key': [key, key] } };
    expect(await refused(twice as never)).toMatchObject({ message: expect.stringContaining('several x-api-key') });
  });
});

test.each([
  ['expiresAt', new Date(0)],
  ['revokedAt', new Date(Date.now() + 60_000)],
  ['revokedAt', '1970-01-01T00:00:00Z'],
  ['expiresAt', String(Date.now() - 1_000)],
  ['revokedAt', true],
  ['expiresAt', Number.NaN],
  ['expiresAt', 1n],
])('a time that is no number is a mistake, and not ignored: %s', async (name, time) => {
  const context = adapterFor({ user, [name]: time } as never).context(bearer(key));
  await expect(context).rejects.toThrow(TypeError);
  await expect(context).rejects.toThrow(`apiKeys: \`${name}\` of the key that \`find\` returned is`);
});

test('a failing lookup is not a wrong key', async () => {
  const auth = apiKeys({
    prefix: 'acme_live',
    find: async () => Promise.reject(new ConvoyError('UNAVAILABLE', 'Away.')),
  });
  await expect(auth.context(bearer(key), undefined)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
});
