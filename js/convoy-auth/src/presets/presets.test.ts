/** Tokens as each provider documents them, and those of other applications of the same provider. */

import type { AuthUser } from '@avvos/convoy';
import { type JWTPayload, SignJWT } from 'jose';
import { beforeAll, describe, expect, test } from 'vitest';
import type { AuthAdapter } from '../adapter.js';
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

const sign = (claims: JWTPayload, typ = 'JWT') =>
  new SignJWT({ iat: seconds() - 1, exp: seconds() + 60, ...claims })
    .setProtectedHeader({ alg: 'RS256', kid: key.kid, typ })
    .sign(key.privateKey);

/** The user of a token, or the message of the error. */
async function userOf<User extends AuthUser>(adapter: AuthAdapter<User>, claims: JWTPayload, typ?: string) {
  return adapter.context(bearer(await sign(claims, typ)), undefined).then(
    ({ auth }) => auth.user,
    (error: Error) => error.message,
  );
}

describe('clerk', () => {
  const iss = 'https://clerk.example.com';
  const azp = 'https://app.example.com';
  const version2 = {
    iss,
    azp,
    sub: 'user_2abc',
    sid: 'sess_2abc',
    v: 2,
    sts: 'active',
    fva: [7, -1],
    nbf: seconds() - 10,
    pla: 'o:pro',
    fea: 'o:dashboard,u:profile,o:impersonation',
    o: { id: 'org_2abc', slg: 'acme', rol: 'admin', per: 'manage,read', fpm: '3,2' },
    act: { iss: 'https://dashboard.clerk.com', sub: 'user_admin' },
  };
  const adapter = () => clerk({ issuer: iss, authorizedParties: [azp], jwks });

  test('reads a session token of version 2', async () => {
    expect(await userOf(adapter(), version2)).toEqual({
      id: 'user_2abc',
      organization: 'org_2abc',
      organizationSlug: 'acme',
      roles: ['org:admin'],
      permissions: ['org:dashboard:manage', 'org:dashboard:read', 'org:impersonation:read'],
      sessionId: 'sess_2abc',
      impersonator: 'user_admin',
    });
  });

  test('reads a session token of version 1', async () => {
    const organization = { org_id: 'org_1', org_role: 'org:member', org_slug: 'acme', org_permissions: ['org:a:read'] };
    expect(await userOf(adapter(), { iss, azp, sub: 'user_1', sid: 'sess_1', ...organization })).toEqual({
      id: 'user_1',
      organization: 'org_1',
      organizationSlug: 'acme',
      roles: ['org:member'],
      permissions: ['org:a:read'],
      sessionId: 'sess_1',
    });
  });

  test('reads a user without an organization', async () => {
    expect(await userOf(adapter(), { ...version2, o: undefined, act: undefined })).toEqual({
      id: 'user_2abc',
      sessionId: 'sess_2abc',
    });
  });

  test('refuses tokens for other origins, and those without one', async () => {
    expect(await userOf(adapter(), { ...version2, azp: 'https://evil.example' })).toMatch(
      'another application (`azp`)',
    );
    expect(await userOf(adapter(), { ...version2, azp: undefined })).toMatch('it has no `azp`');
  });

  test('refuses pending sessions', async () => {
    expect(await userOf(adapter(), { ...version2, sts: 'pending' })).toMatch('does not accept it');
  });

  test('accepts tokens of a JWT template by their audience', async () => {
    const template = clerk({ issuer: iss, audience: 'convoy', jwks });
    expect(await userOf(template, { iss, sub: 'user_1', aud: 'convoy' })).toEqual({ id: 'user_1' });
    expect(await userOf(template, version2)).toMatch('has no claim `aud`');
  });

  test('finds the issuer in the publishable key', async () => {
    const publishableKey = `pk_live_${Buffer.from('clerk.example.com$').toString('base64')}`;
    const user = await userOf(clerk({ publishableKey, authorizedParties: [azp], jwks }), version2);
    expect(user).toMatchObject({ id: 'user_2abc' });
  });

  test.each(['', 'pk_live_', 'pk_live_bm90IGEgaG9zdA==', 'sk_live_Y2xlcmsuZXhhbXBsZS5jb20k'])(
    'refuses the publishable key %j',
    (publishableKey) => {
      expect(() => clerk({ publishableKey, authorizedParties: [azp] })).toThrow('Set `publishableKey`');
    },
  );

  test('needs authorized parties or an audience', () => {
    expect(() => clerk({ issuer: iss })).toThrow('Set `audience`');
  });
});

describe('auth0', () => {
  const audience = 'https://api.example.com';
  const claims = {
    iss: 'https://example.eu.auth0.com/',
    sub: 'auth0|507f1f77bcf86cd799439020',
    aud: [audience, 'https://example.eu.auth0.com/userinfo'],
    azp: 'client',
    scope: 'openid profile',
    permissions: ['read:notes'],
    org_id: 'org_9ybsU1dN2dKfDkBi',
    org_name: 'acme',
    'https://example.com/roles': ['admin'],
    'https://example.com/email': 'a@example.com',
  };
  const adapter = () => auth0({ domain: 'example.eu.auth0.com', audience, namespace: 'https://example.com/', jwks });

  test('reads an access token', async () => {
    expect(await userOf(adapter(), claims, 'at+jwt')).toEqual({
      id: 'auth0|507f1f77bcf86cd799439020',
      email: 'a@example.com',
      organization: 'org_9ybsU1dN2dKfDkBi',
      organizationName: 'acme',
      roles: ['admin'],
      permissions: ['read:notes'],
    });
  });

  test('refuses ID tokens, whose audience is a client', async () => {
    expect(await userOf(adapter(), { ...claims, aud: 'client' })).toMatch('another audience');
  });

  test('takes a domain as it is pasted', async () => {
    const pasted = auth0({ domain: 'https://example.eu.auth0.com/', audience, jwks });
    expect(await userOf(pasted, claims)).toMatchObject({ id: claims.sub });
    expect(() => auth0({ domain: '', audience })).toThrow('`domain` must be a host name');
  });
});

describe('workos', () => {
  const claims = {
    iss: 'https://api.workos.com',
    sub: 'user_01HBEQKA6K4QJAS93VPE39W1JT',
    act: { sub: 'admin@foocorp.com' },
    org_id: 'org_01HRDMC6CM357W30QMHMQ96Q0S',
    role: 'member',
    roles: ['member'],
    permissions: ['posts:read', 'posts:write'],
    entitlements: ['audit-logs'],
    sid: 'session_01HQSXZGF8FHF7A9ZZFCW4387R',
    jti: '01HQSXZXPPFPKMDD32RKTFY6PV',
  };
  const adapter = () => workos({ clientId: 'client_01', jwks });

  test('reads an access token', async () => {
    expect(await userOf(adapter(), claims)).toEqual({
      id: claims.sub,
      organization: claims.org_id,
      roles: ['member'],
      permissions: claims.permissions,
      entitlements: ['audit-logs'],
      sessionId: claims.sid,
      impersonator: 'admin@foocorp.com',
    });
  });

  test('reads a token whose issuer has the client, and which has one role', async () => {
    const iss = 'https://api.workos.com/user_management/client_01';
    expect(await userOf(adapter(), { ...claims, iss, roles: undefined })).toMatchObject({ roles: ['member'] });
  });

  test('refuses tokens for other clients', async () => {
    const iss = 'https://api.workos.com/user_management/client_02';
    expect(await userOf(adapter(), { ...claims, iss })).toMatch('of no accepted kind');
    expect(await userOf(adapter(), { ...claims, client_id: 'client_02' })).toMatch('does not accept it');
    expect(await userOf(adapter(), { ...claims, aud: 'client_02' })).toMatch('does not accept it');
    expect(await userOf(adapter(), { ...claims, aud: ['client_01'] })).toMatchObject({ id: claims.sub });
  });

  test('accepts the issuer of a custom domain', async () => {
    const custom = workos({ clientId: 'client_01', issuer: 'https://auth.example.com', jwks });
    expect(await userOf(custom, { ...claims, iss: 'https://auth.example.com' })).toMatchObject({ id: claims.sub });
    expect(() => workos({ clientId: '' })).toThrow('`clientId` must be a client id');
  });
});

describe('supabase', () => {
  const claims = {
    iss: 'https://abcdefgh.supabase.co/auth/v1',
    aud: 'authenticated',
    sub: '123e4567-e89b-12d3-a456-426614174000',
    role: 'authenticated',
    aal: 'aal1',
    session_id: 'session',
    email: 'a@example.com',
    phone: '',
    is_anonymous: false,
    app_metadata: { provider: 'email', providers: ['email'], roles: ['editor'], organization: 'acme' },
    user_metadata: { full_name: 'A. User', email_verified: true, roles: ['admin'], organization: 'other' },
    amr: [{ method: 'password', timestamp: 1640991600 }],
  };
  const adapter = () => supabase({ url: 'https://abcdefgh.supabase.co/', jwks });

  test('reads an access token, and trusts no metadata that users can edit', async () => {
    expect(await userOf(adapter(), claims)).toEqual({
      id: claims.sub,
      email: 'a@example.com',
      name: 'A. User',
      organization: 'acme',
      roles: ['editor'],
      isAnonymous: false,
      sessionId: 'session',
      assuranceLevel: 'aal1',
    });
  });

  test('tells anonymous users apart', async () => {
    const user = await userOf(adapter(), { ...claims, is_anonymous: true, email: '', app_metadata: {} });
    expect(user).toMatchObject({ isAnonymous: true });
    expect(user).not.toHaveProperty('email');
  });

  test('refuses the keys of the project', async () => {
    expect(await userOf(adapter(), { iss: 'supabase', ref: 'abcdefgh', role: 'anon' })).toMatch('of no accepted kind');
    expect(await userOf(adapter(), { ...claims, role: 'service_role' })).toMatch('does not accept it');
    expect(await userOf(adapter(), { ...claims, aud: 'anon' })).toMatch('another audience');
  });

  test('refuses tokens of other projects', async () => {
    expect(await userOf(adapter(), { ...claims, iss: 'https://other.supabase.co/auth/v1' })).toMatch(
      'no accepted kind',
    );
  });

  test('accepts the secret of a project without signing keys', async () => {
    const secret = 'super-secret-jwt-token-with-at-least-32-characters-long';
    const token = await new SignJWT({ ...claims, exp: seconds() + 60 })
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
      .sign(new TextEncoder().encode(secret));
    const adapter = supabase({ url: 'https://abcdefgh.supabase.co', secret });
    expect((await adapter.context(bearer(token), undefined)).auth.user?.id).toBe(claims.sub);
    expect(await userOf(adapter, claims)).toMatch('an algorithm that is not allowed');
  });
});

describe('firebase', () => {
  const claims = {
    iss: 'https://securetoken.google.com/example-project',
    aud: 'example-project',
    sub: 'uid1',
    user_id: 'uid1',
    auth_time: seconds() - 100,
    email: 'a@example.com',
    email_verified: true,
    name: 'A. User',
    picture: 'https://example.com/a.png',
    phone_number: '+4912345',
    role: 'editor',
    firebase: { identities: { email: ['a@example.com'] }, sign_in_provider: 'password', tenant: 'tenant-1' },
  };
  const adapter = () => firebase({ projectId: 'example-project', jwks });

  test('reads an ID token', async () => {
    expect(await userOf(adapter(), claims)).toEqual({
      id: 'uid1',
      email: 'a@example.com',
      emailVerified: true,
      name: 'A. User',
      picture: 'https://example.com/a.png',
      phone: '+4912345',
      organization: 'tenant-1',
      roles: ['editor'],
      signInProvider: 'password',
      isAnonymous: false,
    });
  });

  test('tells anonymous users apart', async () => {
    const user = { ...claims, firebase: { identities: {}, sign_in_provider: 'anonymous' } };
    expect(await userOf(adapter(), user)).toMatchObject({ isAnonymous: true });
  });

  test('refuses tokens of other projects', async () => {
    expect(await userOf(adapter(), { ...claims, aud: 'other-project' })).toMatch('another audience');
    const iss = 'https://securetoken.google.com/other-project';
    expect(await userOf(adapter(), { ...claims, iss })).toMatch('of no accepted kind');
  });

  test('refuses session cookies, which have another issuer', async () => {
    const iss = 'https://session.firebase.google.com/example-project';
    expect(await userOf(adapter(), { ...claims, iss })).toMatch('of no accepted kind');
  });

  test('refuses a sign-in in the future, or none', async () => {
    expect(await userOf(adapter(), { ...claims, auth_time: seconds() + 600 })).toMatch('does not accept it');
    expect(await userOf(adapter(), { ...claims, auth_time: undefined })).toMatch('has no claim `auth_time`');
  });

  test('refuses other tenants', async () => {
    const tenant = firebase({ projectId: 'example-project', tenant: 'tenant-2', jwks });
    expect(await userOf(tenant, claims)).toMatch('does not accept it');
    expect(() => firebase({ projectId: 'Example Project' })).toThrow('`projectId` must be the id');
  });
});

describe('oidc', () => {
  const issuer = 'https://login.example.com/realms/example';
  const claims = {
    iss: issuer,
    aud: 'account',
    sub: 'f3c2',
    typ: 'Bearer',
    azp: 'web',
    realm_access: { roles: ['offline_access', 'editor'] },
    resource_access: { account: { roles: ['view-profile'] }, api: { roles: ['writer', 'editor'] } },
    scope: 'openid email profile',
    email_verified: true,
    name: 'A. User',
    preferred_username: 'auser',
    email: 'a@example.com',
    groups: ['/staff'],
    organization: { acme: { id: '42c3e46f-2477-44d7-a85b-d3b43f6b31fa' } },
  };
  const adapter = (options = {}) => oidc({ issuer, authorizedParties: ['web'], jwks, ...options });

  test('reads an access token of Keycloak', async () => {
    expect(await userOf(adapter({ client: 'api' }), claims)).toEqual({
      id: 'f3c2',
      email: 'a@example.com',
      emailVerified: true,
      name: 'A. User',
      organization: '42c3e46f-2477-44d7-a85b-d3b43f6b31fa',
      roles: ['offline_access', 'editor', 'writer'],
      username: 'auser',
      groups: ['/staff'],
    });
  });

  test('counts the roles of no other client', async () => {
    expect(await userOf(adapter(), claims)).toMatchObject({ roles: ['offline_access', 'editor'] });
  });

  test('reads organizations as a list, and chooses none of several', async () => {
    expect(await userOf(adapter(), { ...claims, organization: ['acme'] })).toMatchObject({ organization: 'acme' });
    const several = await userOf(adapter(), { ...claims, organization: ['acme', 'other'] });
    expect(several).not.toHaveProperty('organization');
  });

  test('reads the claim `roles` of other servers', async () => {
    const { realm_access: _, resource_access: __, ...others } = claims;
    expect(await userOf(adapter(), { ...others, roles: ['admin'] })).toMatchObject({ roles: ['admin'] });
  });

  test('refuses tokens for other clients of the realm', async () => {
    expect(await userOf(adapter(), { ...claims, azp: 'other' })).toMatch('another application (`azp`)');
    expect(() => oidc({ issuer, jwks })).toThrow('Set `audience`');
  });
});
