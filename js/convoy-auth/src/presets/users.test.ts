/** What all presets have in common: which claims make a user, and what a program adds. */

import { type JWTPayload, SignJWT } from 'jose';
import { beforeAll, expect, test } from 'vitest';
import { bearer, type SigningKey, seconds, signingKey } from '../jwt/issuer.test-kit.js';
import { auth0 } from './auth0.js';
import { clerk } from './clerk.js';
import { firebase } from './firebase.js';
import { oidc } from './oidc.js';
import { supabase } from './supabase.js';
import { workos } from './workos.js';

let key: SigningKey;
let jwks: { keys: SigningKey['jwk'][] };
beforeAll(async () => {
  key = await signingKey('provider key');
  jwks = { keys: [key.jwk] };
});

const sign = (claims: JWTPayload) =>
  new SignJWT({ exp: seconds() + 60, ...claims })
    .setProtectedHeader({ alg: 'RS256', kid: key.kid })
    .sign(key.privateKey);

test('a claim of an unexpected type is left out', async () => {
  const adapter = oidc({ issuer: 'https://a.example', audience: 'api', jwks });
  const odd = {
    email: 7,
    email_verified: 'true',
    name: '',
    roles: 'admin',
    permissions: [1],
    org_id: {},
    realm_access: [],
  };
  const claims = { iss: 'https://a.example', aud: 'api', sub: 'u', ...odd, organization: null };
  const { auth } = await adapter.context(bearer(await sign(claims as JWTPayload)), undefined);
  expect(auth.user).toEqual({ id: 'u' });
});

test('a program adds to the user of a preset', async () => {
  const adapter = auth0({
    domain: 'a.auth0.com',
    audience: 'api',
    jwks,
    user: (claims, user) => ({ ...user, plan: claims.plan === 'pro' ? 'pro' : 'free' }),
  });
  const { auth } = await adapter.context(
    bearer(await sign({ iss: 'https://a.auth0.com/', aud: 'api', sub: 'u', plan: 'pro' })),
    undefined,
  );
  const plan: string | undefined = auth.user?.plan;
  expect(plan).toBe('pro');
});

/** An adapter of each preset, with the claims of a token that it accepts. */
const presets = (options: { readonly validate?: () => boolean; readonly idPrefix?: string }) =>
  [
    [auth0({ domain: 'a.auth0.com', audience: 'api', jwks, ...options }), { iss: 'https://a.auth0.com/', aud: 'api' }],
    [
      clerk({ issuer: 'https://c.example', audience: 'api', jwks, ...options }),
      { iss: 'https://c.example', aud: 'api' },
    ],
    [
      firebase({ projectId: 'p', jwks, ...options }),
      { iss: 'https://securetoken.google.com/p', aud: 'p', auth_time: 1, iat: 1 },
    ],
    [
      oidc({ issuer: 'https://a.example', audience: 'api', jwks, ...options }),
      { iss: 'https://a.example', aud: 'api' },
    ],
    [
      supabase({ url: 'https://s.example', jwks, ...options }),
      { iss: 'https://s.example/auth/v1', aud: 'authenticated', role: 'authenticated' },
    ],
    [workos({ clientId: 'client_1', jwks, ...options }), { iss: 'https://api.workos.com' }],
  ] as const;

test('a check of the program that returns a promise accepts nothing', async () => {
  for (const [adapter, claims] of presets({ validate: (async () => false) as never })) {
    const token = await sign({ sub: 'u', ...claims });
    await expect(adapter.context(bearer(token), undefined)).rejects.toThrow('`validate` must return true or false');
  }
});

test('ids have the prefix of the program', async () => {
  for (const [adapter, claims] of presets({ idPrefix: 'issuer:' })) {
    const { auth } = await adapter.context(bearer(await sign({ sub: 'u', ...claims })), undefined);
    expect(auth.user?.id).toBe('issuer:u');
  }
});
