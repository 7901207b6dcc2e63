import { betterAuth as createBetterAuth } from 'better-auth';
import { memoryAdapter } from 'better-auth/adapters/memory';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { compose, defineAdapter } from './adapter.js';
import { anonymous } from './anonymous.js';
import { apiKeys } from './api-keys.js';
import { authJs } from './authjs/auth-js.js';
import { betterAuth } from './better-auth.js';
import { betterAuthSecuritySchemes } from './better-auth-schemes.js';
import { jwt } from './jwt/jwt.js';
import { clerk } from './presets/clerk.js';
import { workos } from './presets/workos.js';
import { mergeSecuritySchemes } from './security-schemes.js';

afterEach(() => {
  vi.unstubAllEnvs();
});

const secret = 'a secret of 32 bytes, or more, for tests';
const people = jwt({ issuer: 'https://login.example.com', audience: 'notes', secret });
const keys = apiKeys({ prefix: 'acme', find: async () => null });
const sessionsOf = (options: object = {}) =>
  createBetterAuth({
    secret,
    baseURL: 'http://localhost:3000',
    database: memoryAdapter({}),
    logger: { disabled: true },
    ...options,
  });

describe('an adapter states', () => {
  const bearer = { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' };

  test('a bearer token that is a JWT, also by a preset and for guests', () => {
    expect(people.securitySchemes).toEqual({
      bearer: { ...bearer, description: 'A token of https://login.example.com.' },
    });
    const preset = clerk({ issuer: 'https://clerk.example.com', authorizedParties: ['https://example.com'] });
    expect(preset.securitySchemes).toEqual({
      bearer: { ...bearer, description: 'A token of https://clerk.example.com.' },
    });
    expect(workos({ clientId: 'client_1' }).securitySchemes).toMatchObject({ bearer });
    expect(anonymous({ secret }).securitySchemes).toEqual({
      bearer: { ...bearer, description: 'The token of a guest, which the application issues.' },
    });
  });

  test('an API key in its header, as configured', () => {
    const header = { type: 'apiKey', in: 'header', description: expect.stringContaining('`acme_`') };
    expect(keys.securitySchemes).toEqual({ apiKey: { ...header, name: 'x-api-key' } });
    const named = apiKeys({ prefix: 'acme', header: 'X-Acme-Key', find: async () => null });
    expect(named.securitySchemes).toEqual({ apiKey: { ...header, name: 'X-Acme-Key' } });
  });

  test('the cookie of a session, with what a client has to know', () => {
    const description = expect.stringMatching(/other origins are refused.*Content-Type: application\/json/);
    const cookie = { type: 'apiKey', in: 'cookie', description };
    expect(betterAuth(sessionsOf()).securitySchemes).toEqual({
      session: { ...cookie, name: 'better-auth.session_token' },
    });
    expect(authJs({ providers: [], secret }, { secureCookies: true }).securitySchemes).toEqual({
      session: { ...cookie, name: '__Secure-authjs.session-token' },
    });
    const cookies = { sessionToken: { name: 'own' } };
    expect(authJs({ providers: [], secret, cookies }).securitySchemes).toMatchObject({ session: { name: 'own' } });
  });

  test('a token in place of the cookie only with `bearer`', () => {
    const { bearer: token, ...others } = betterAuth(sessionsOf(), { bearer: true }).securitySchemes;
    expect(token).toMatchObject({ type: 'http', scheme: 'bearer' });
    expect(token).not.toHaveProperty('bearerFormat');
    expect(Object.keys(others)).toEqual(['session']);
  });

  test('what a custom adapter gives, and nothing that it does not', () => {
    const definition = { accepts: 'a service', identify: async () => null };
    expect(defineAdapter(definition).securitySchemes).toEqual({});
    const mesh = { type: 'mutualTLS' } as const;
    expect(defineAdapter({ ...definition, securitySchemes: { mesh } }).securitySchemes).toEqual({ mesh });
  });
});

describe('the cookie of Better Auth has the name that an instance gives it', () => {
  const dynamic = { allowedHosts: ['*.example.com'], fallback: 'https://app.example.com' };
  test.each<[string, object, Record<string, string>]>([
    ['without a URL', { baseURL: undefined }, {}],
    ['with HTTPS', { baseURL: 'https://app.example.com/api' }, {}],
    ['with HTTP in production', { baseURL: 'http://app.example.com' }, { NODE_ENV: 'production' }],
    ['by the environment', { baseURL: undefined }, { BETTER_AUTH_URL: 'https://app.example.com' }],
    ['by a variable of a framework', { baseURL: undefined }, { NUXT_PUBLIC_AUTH_URL: 'https://app.example.com' }],
    ['by the path of a base', { baseURL: undefined }, { BASE_URL: '/' }],
    ['by the option before the environment', {}, { BETTER_AUTH_URL: 'https://app.example.com' }],
    ['with secure cookies', { advanced: { useSecureCookies: true } }, {}],
    ['without secure cookies', { baseURL: 'https://a.example', advanced: { useSecureCookies: false } }, {}],
    ['with a prefix', { advanced: { cookiePrefix: 'notes' } }, {}],
    ['with a name', { advanced: { cookiePrefix: 'notes', cookies: { session_token: { name: 'own' } } } }, {}],
    ['for several hosts', { baseURL: dynamic }, {}],
    ['for several hosts, by HTTPS', { baseURL: { ...dynamic, protocol: 'https' } }, {}],
    ['for several hosts, by HTTP', { baseURL: { ...dynamic, protocol: 'http' } }, { BETTER_AUTH_URL: 'https://a.b' }],
    ['for several hosts, by either', { baseURL: { ...dynamic, protocol: 'auto' } }, { BETTER_AUTH_URL: 'https://a.b' }],
  ])('%s', async (_name, options, environment) => {
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
    const instance = sessionsOf(options);
    const { authCookies } = await instance.$context;
    const { session } = betterAuthSecuritySchemes(instance.options);
    expect(session).toMatchObject({ in: 'cookie', name: authCookies.sessionToken.name });
  });

  test('for several hosts with a cookie each: that of HTTPS', () => {
    const crossSubDomainCookies = { enabled: true };
    const { session } = betterAuthSecuritySchemes({ baseURL: dynamic, advanced: { crossSubDomainCookies } });
    expect(session).toMatchObject({ name: '__Secure-better-auth.session_token' });
  });

  test('in production', () => {
    vi.stubEnv('NODE_ENV', 'production');
    expect(betterAuthSecuritySchemes({}).session).toMatchObject({ name: '__Secure-better-auth.session_token' });
  });
});

describe('several adapters', () => {
  test('state the schemes of all', () => {
    const auth = compose(people, keys, betterAuth(sessionsOf()));
    expect(auth.securitySchemes).toEqual({
      ...people.securitySchemes,
      ...keys.securitySchemes,
      ...betterAuth(sessionsOf()).securitySchemes,
    });
    expect(Object.keys(auth.securitySchemes)).toEqual(['bearer', 'apiKey', 'session']);
    expect(compose(auth, people).securitySchemes).toEqual(auth.securitySchemes);
  });

  test('have one scheme for all bearer tokens, with the description of each', () => {
    const { bearer } = compose(people, anonymous({ secret })).securitySchemes;
    expect(bearer).toEqual({
      type: 'http',
      scheme: 'bearer',
      bearerFormat: 'JWT',
      description: 'A token of https://login.example.com. The token of a guest, which the application issues.',
    });
    const mixed = compose(people, betterAuth(sessionsOf(), { bearer: true })).securitySchemes;
    expect(mixed.bearer).not.toHaveProperty('bearerFormat');
    expect(Object.keys(mixed)).toEqual(['bearer', 'session']);
  });

  test('number what is used differently under one name', () => {
    const partners = apiKeys({ prefix: 'partner', header: 'x-partner-key', find: async () => null });
    const { securitySchemes } = compose(keys, partners, betterAuth(sessionsOf()), authJs({ providers: [], secret }));
    expect(Object.entries(securitySchemes).map(([name, scheme]) => [name, 'name' in scheme && scheme.name])).toEqual([
      ['apiKey', 'x-api-key'],
      ['apiKey2', 'x-partner-key'],
      ['session', 'better-auth.session_token'],
      ['session2', 'authjs.session-token'],
    ]);
    const other = { type: 'apiKey', in: 'header', name: 'x-third' } as const;
    expect(mergeSecuritySchemes(securitySchemes, { apiKey: other })).toMatchObject({ apiKey3: other });
    expect(mergeSecuritySchemes(securitySchemes, partners.securitySchemes)).toEqual(securitySchemes);
  });
});
