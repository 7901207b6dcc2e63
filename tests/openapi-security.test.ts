/** The security schemes of the OpenAPI document are those by which the server identifies callers. */

import { defineSchema, type SecuritySchemes } from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import { apiKeys, createApiKey } from '@avvos/convoy-auth';
import { Validator } from '@seriousme/openapi-schema-validator';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { CommandLine } from './command-line.js';
import { clientProject, generateClient, linkPackages } from './generated-client.js';

const ISSUER = 'https://login.example.com';
const SECRET = 'a secret of 32 bytes, or more, for tests';

const AUTH = `import { apiKeys, betterAuthSecuritySchemes, jwt, mergeSecuritySchemes } from '@avvos/convoy-auth';
import { createAuthFor } from '@avvos/convoy-auth/better-auth-adapter';
import { type BetterAuthOptions, betterAuth } from 'better-auth';

const secret = ${JSON.stringify(SECRET)};
export const authOptions = {
  secret,
  baseURL: 'https://notes.example',
  emailAndPassword: { enabled: true },
  advanced: { cookiePrefix: 'notes' },
} satisfies BetterAuthOptions;
export const authFor = createAuthFor((database) => betterAuth({ ...authOptions, database }));
export const tokens = jwt({ issuer: '${ISSUER}', audience: 'notes', secret });
export const keys = apiKeys({
  prefix: 'notes',
  header: 'X-Notes-Key',
  find: async (hash) => (hash === process.env.KEY_HASH ? { user: { id: 'a script' } } : null),
});
export const securitySchemes = mergeSecuritySchemes(
  tokens.securitySchemes,
  keys.securitySchemes,
  betterAuthSecuritySchemes(authOptions),
);
`;

const SERVER = `import type { ConvoyRequest } from '@avvos/convoy';
import { betterAuth, compose } from '@avvos/convoy-auth';
import type { ServerContext } from './_generated/server';
import { authFor, keys, tokens } from './auth';

export { securitySchemes } from './auth';

export async function createContext(req: ConvoyRequest, base: ServerContext) {
  const sessions = betterAuth(authFor(base), { user: ({ user }) => ({ id: user.email }) });
  return { ...base, ...(await compose(tokens, keys, sessions).context(req, base)) };
}
`;

const FUNCTIONS = `import { z } from 'zod';
import { authed, query } from '../_generated/server';

export const who = query({ returns: z.string().nullable(), handler: ({ auth }) => auth.user?.id ?? null });
export const mine = authed.query({ returns: z.array(z.string()), handler: ({ auth }) => [auth.user.id] });
`;

const CLIENT = `import createClient from 'openapi-fetch';
import type { paths } from './schema.js';

export async function useApi(baseUrl: string, key: string) {
  const client = createClient<paths>({ baseUrl, headers: { 'X-Notes-Key': key } });
  const mine = await client.POST('/api/query/notes.mine', { body: {} });
  const names: string[] | undefined = mine.data?.data;
  // @ts-expect-error The result is a list of names.
  mine.data?.data.length.toFixed().at(0).at(0).id;
  const refused = await createClient<paths>({ baseUrl }).POST('/api/query/notes.mine', { body: {} });
  return { names, code: refused.error?.error.code };
}
`;

const { key, hash } = createApiKey({ prefix: 'notes' });

let app: CommandLine;
let url: string;
beforeAll(async () => {
  app = await CommandLine.create({
    'convoy/schema.ts': `import { defineSchema } from '@avvos/convoy';
import { betterAuthTables } from '@avvos/convoy-auth/better-auth-adapter';
import { authOptions } from './auth';
export default defineSchema(betterAuthTables(authOptions));`,
    'convoy/auth.ts': AUTH,
    'convoy/server.ts': SERVER,
    'convoy/http.ts': `import { route } from './_generated/server';
import { authFor } from './auth';
export const signIn = route.all('/api/auth/*path', (ctx, request) => authFor(ctx).handler(request));`,
    'convoy/functions/notes.ts': FUNCTIONS,
    'convoy.config.ts': 'export default { openapi: true };',
    ...clientProject(CLIENT),
  });
  await linkPackages(app, '@avvos/convoy-auth', 'better-auth');
  expect((await app.run(['migrate'])).code).toBe(0);
  const built = await app.run(['build']);
  expect(built.code, built.stdout + built.stderr).toBe(0);
  url = new URL((await app.serve({ env: { KEY_HASH: hash } })).url).origin;
}, 120_000);
afterAll(() => app.remove());

const documentOf = async () => (await fetch(`${url}/api/openapi.json`)).json();

/** A call of a function, with the credentials as a scheme of the document says. */
async function callWith(scheme: Record<string, string>, credentials: string): Promise<string | null> {
  const { type, in: place, name = '' } = scheme;
  const header =
    type === 'http'
      ? { authorization: `${scheme.scheme} ${credentials}` }
      : place === 'cookie'
        ? { cookie: `${name}=${credentials}` }
        : { [name]: credentials };
  // Without it, a server asks where the cookies come from.
  const headers = { 'content-type': 'application/json', ...header };
  const response = await fetch(`${url}/api/query/notes.who`, { method: 'POST', headers, body: '{}' });
  expect(response.status).toBe(200);
  return (await response.json()).data;
}

test('the document states each kind of credentials, and an independent validator accepts it', async () => {
  const document = await documentOf();
  expect(await new Validator().validate(structuredClone(document))).toMatchObject({ valid: true });
  expect(JSON.parse((await app.run(['openapi'])).stdout)).toEqual(document);
  expect(JSON.parse((await app.run(['openapi', '--build', 'convoy-build'])).stdout)).toEqual(document);
  expect(document.components.securitySchemes).toMatchObject({
    bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: `A token of ${ISSUER}.` },
    apiKey: { type: 'apiKey', in: 'header', name: 'X-Notes-Key' },
    session: { type: 'apiKey', in: 'cookie', name: '__Secure-notes.session_token' },
  });
  const signedIn = [{ bearer: [] }, { apiKey: [] }, { session: [] }];
  expect(document.security).toEqual([{}, ...signedIn]);
  expect(document.paths['/api/query/notes.mine'].post.security).toEqual(signedIn);
  expect(document.paths['/api/query/notes.who'].post).not.toHaveProperty('security');
  expect(document.paths['/api/auth/{path}'].get).not.toHaveProperty('security');
  // A control of the validator.
  const wrong = { ...document, components: { securitySchemes: { key: { type: 'apiKey', in: 'body', name: 'key' } } } };
  expect(await new Validator().validate(wrong)).toMatchObject({ valid: false });
}, 60_000);

test('the server identifies a caller by each of them', async () => {
  const { securitySchemes } = (await documentOf()).components;
  const token = await new SignJWT({ sub: 'a user' })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuer(ISSUER)
    .setAudience('notes')
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET));
  const signUp = await fetch(`${url}/api/auth/sign-up/email`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'A. User', email: 'a@example.com', password: 'correct horse battery' }),
  });
  expect(signUp.status, await signUp.text()).toBe(200);
  const given = signUp.headers.getSetCookie().map((each) => each.split(';', 1)[0]?.split('=') ?? []);
  const [, cookie = ''] = given.find(([name]) => name === securitySchemes.session.name) ?? [];
  expect(await callWith(securitySchemes.bearer, token)).toBe('a user');
  expect(await callWith(securitySchemes.apiKey, key)).toBe('a script');
  expect(await callWith(securitySchemes.session, cookie)).toBe('a@example.com');
  // A control: under another name, the cookie is none.
  expect(await callWith({ ...securitySchemes.session, name: 'notes.session_token' }, cookie)).toBeNull();
});

test('a client that is generated from it compiles, and calls with an API key', async () => {
  const { useApi } = await generateClient<{ useApi(url: string, key: string): Promise<unknown> }>(app, CLIENT);
  expect(await useApi(url, key)).toEqual({ names: ['a script'], code: 'UNAUTHORIZED' });
}, 60_000);

test('`createConvoy` takes them, and refuses mistakes in them', async () => {
  const { securitySchemes } = apiKeys({ prefix: 'notes', find: async () => null });
  const options = { schema: defineSchema({}), functions: {}, createDatabase: true, openapi: true };
  const open = (given: SecuritySchemes) =>
    createConvoy({ ...options, databaseUrl: freshDatabaseUrl(), securitySchemes: given });
  const convoy = await open(securitySchemes);
  try {
    const response = await convoy.handlers.GET(new Request('http://localhost/api/openapi.json'));
    const document = await response.json();
    expect(document.components.securitySchemes).toEqual(securitySchemes);
    expect(document.security).toEqual([{}, { apiKey: [] }]);
  } finally {
    await convoy.close();
  }
  const wrong = { apiKey: { type: 'apiKey', in: 'body', name: 'key' } } as unknown as SecuritySchemes;
  await expect(open(wrong)).rejects.toThrow('`securitySchemes` has a mistake at apiKey.in: expected header, cookie or');
}, 60_000);

test('in development, an edit of them is in the document at once', async () => {
  const dev = app.start(['dev', '--no-types', '--port', '0']);
  const [address] = await dev.prints(/http:\/\/[^\s/]+/);
  const schemes = async () => {
    const document = await (await fetch(`${address}/api/openapi.json`)).json();
    return Object.keys(document.components.securitySchemes);
  };
  expect(await schemes()).toEqual(['bearer', 'apiKey', 'session']);
  const own = "export const securitySchemes = { own: { type: 'mutualTLS' } } as const;";
  await app.write({ 'convoy/server.ts': SERVER.replace(/^export \{.*/m, own) });
  await dev.prints(/server\.ts changed: loaded/);
  expect(await schemes()).toEqual(['own']);
  await app.write({ 'convoy/server.ts': SERVER });
}, 60_000);

test('a mistake in them is told when the code is loaded, with its file', async () => {
  await app.write({
    'convoy/server.ts': "export const securitySchemes = { key: { type: 'apiKey', in: 'body', name: 'key' } };",
  });
  const refused = await app.run(['openapi']);
  await app.write({ 'convoy/server.ts': SERVER });
  expect(refused).toMatchObject({ code: 1, stdout: '' });
  expect(refused.stderr).toContain(
    '`securitySchemes` of convoy/server.ts has a mistake at key.in: expected header, cookie or query. Give the ' +
      '`securitySchemes` of an adapter of @avvos/convoy-auth',
  );
}, 60_000);
