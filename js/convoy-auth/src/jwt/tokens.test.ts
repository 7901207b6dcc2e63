/** Tokens that must be refused, one test each, and those that must be accepted. */

import { ConvoyError, type ConvoyRequest } from '@avvos/convoy';
import { base64url, exportSPKI, SignJWT, UnsecuredJWT } from 'jose';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { bearer, type SigningKey, seconds, signingKey, TestIssuer } from './issuer.test-kit.js';
import { jwt } from './jwt.js';
import { MIN_SECRET_BYTES } from './settings.js';

let issuer: TestIssuer;
let other: SigningKey;
beforeAll(async () => {
  issuer = await TestIssuer.start();
  other = await signingKey('first');
});
afterAll(() => issuer.close());
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const adapter = () => jwt({ issuer: issuer.url, audience: 'api' });
const accept = (token: string, options = {}) =>
  jwt({ issuer: issuer.url, audience: 'api', ...options }).context(bearer(token), undefined);

/** The error for a request: its code and message, which must not contain the token or a part of it. */
async function refusal(request: ConvoyRequest | string, options = {}): Promise<string> {
  const req = typeof request === 'string' ? bearer(request) : request;
  const error: unknown = await jwt({ issuer: issuer.url, audience: 'api', ...options })
    .context(req, undefined)
    .then(
      ({ auth }) => expect.fail(`accepted ${JSON.stringify(auth.user)}`),
      (thrown: unknown) => thrown,
    );
  expect(error).toBeInstanceOf(ConvoyError);
  const { code, message, details } = error as ConvoyError;
  expect(details).toBeUndefined();
  for (const part of [req.headers.authorization].flat().flatMap((each) => (each ?? '').split(/[ .]/))) {
    if (part.length > 10) expect(message).not.toContain(part);
  }
  return `${code}: ${message}`;
}

describe('a token is refused', () => {
  test('that has expired', async () => {
    expect(await refusal(await issuer.sign({ exp: seconds() - 1 }))).toMatch('UNAUTHORIZED: The token has expired.');
  });

  test('that expires now, in spite of the tolerance', async () => {
    const token = await issuer.sign({ exp: seconds() });
    expect(await refusal(token, { clockTolerance: 60 })).toMatch('The token has expired.');
  });

  test('that never expires', async () => {
    expect(await refusal(await issuer.sign({ exp: undefined as never }))).toMatch('The token has no claim `exp`.');
  });

  test('that is not valid yet', async () => {
    expect(await refusal(await issuer.sign({ nbf: seconds() + 60 }))).toMatch('The token is not valid yet (`nbf`).');
  });

  test('that was issued in the future', async () => {
    expect(await refusal(await issuer.sign({ iat: seconds() + 60 }))).toMatch('issued in the future (`iat`)');
  });

  test('of another issuer', async () => {
    expect(await refusal(await issuer.sign({ iss: 'https://evil.example' }))).toBe(
      `UNAUTHORIZED: The credentials in the authorization header are of no accepted kind. Accepted: a token of ${issuer.url}.`,
    );
  });

  test('of an issuer that differs by a slash', async () => {
    expect(await refusal(await issuer.sign({ iss: `${issuer.url}/` }))).toMatch('of no accepted kind');
  });

  test('without an issuer', async () => {
    expect(await refusal(await issuer.sign({ iss: undefined as never }))).toMatch('of no accepted kind');
  });

  test('for another audience', async () => {
    expect(await refusal(await issuer.sign({ aud: 'other' }))).toMatch('made for another audience (`aud`)');
  });

  test('without an audience', async () => {
    expect(await refusal(await issuer.sign({ aud: undefined as never }))).toMatch('has no claim `aud`');
  });

  test('for another client', async () => {
    const token = await issuer.sign({ azp: 'https://evil.example' });
    expect(await refusal(token, { authorizedParties: ['https://app.example'] })).toMatch('another application (`azp`)');
  });

  test('for no client, where one is asked for', async () => {
    expect(await refusal(await issuer.sign(), { authorizedParties: ['web'] })).toMatch('it has no `azp`');
  });

  test('without a subject', async () => {
    expect(await refusal(await issuer.sign({ sub: undefined as never }))).toMatch('has no claim `sub`');
  });

  test('with an empty subject', async () => {
    expect(await refusal(await issuer.sign({ sub: '' }))).toMatch('`sub` is empty');
  });

  test('with a subject that is no text', async () => {
    expect(await refusal(await issuer.sign({ sub: 7 as never }))).toMatch('UNAUTHORIZED');
  });

  test('that is not signed', async () => {
    const token = new UnsecuredJWT(issuer.claims()).encode();
    expect(await refusal(token)).toMatch('UNAUTHORIZED: The token is signed with an algorithm that is not allowed.');
  });

  test.each(['None', 'NONE', 'nOnE', ''])('whose algorithm is %j', async (alg) => {
    const [, payload] = (await issuer.sign()).split('.');
    const header = base64url.encode(JSON.stringify({ alg, kid: 'first', typ: 'JWT' }));
    expect(await refusal(`${header}.${payload}.`)).toMatch('UNAUTHORIZED');
  });

  test('that is signed with HMAC and the public key in PEM', async () => {
    const pem = new TextEncoder().encode(await exportSPKI(issuer.key.publicKey));
    const token = await new SignJWT(issuer.claims()).setProtectedHeader({ alg: 'HS256', kid: 'first' }).sign(pem);
    expect(await refusal(token)).toMatch('an algorithm that is not allowed');
  });

  test('that is signed with HMAC and the public key in JSON', async () => {
    const json = new TextEncoder().encode(JSON.stringify(issuer.key.jwk));
    const token = await new SignJWT(issuer.claims()).setProtectedHeader({ alg: 'HS256', kid: 'first' }).sign(json);
    expect(await refusal(token)).toMatch('an algorithm that is not allowed');
  });

  test('that is signed with HMAC and the modulus of the public key', async () => {
    const modulus = base64url.decode(issuer.key.jwk.n as string);
    const token = await new SignJWT(issuer.claims()).setProtectedHeader({ alg: 'HS256', kid: 'first' }).sign(modulus);
    expect(await refusal(token)).toMatch('an algorithm that is not allowed');
  });

  test('that is signed with a public key, where a secret is set', async () => {
    const secret = 'an application secret of 32 bytes or more';
    expect(await refusal(await issuer.sign(), { secret })).toMatch('an algorithm that is not allowed');
  });

  test('whose algorithm does not belong to its key', async () => {
    const ec = await signingKey('first', 'ES256');
    expect(await refusal(await issuer.sign({}, {}, ec))).toMatch('signed with a key that');
  });

  test('whose algorithm is possible but not accepted', async () => {
    expect(await refusal(await issuer.sign(), { algorithms: ['ES256'] })).toMatch('an algorithm that is not allowed');
  });

  test('that is signed with another key of the same id', async () => {
    expect(await refusal(await issuer.sign({}, {}, other))).toMatch('The signature of the token is wrong.');
  });

  test('that brings its own key', async () => {
    const token = await issuer.sign({}, { jwk: other.jwk, kid: undefined }, other);
    expect(await refusal(token)).toMatch('The signature of the token is wrong.');
  });

  test('that names an address of its own key', async () => {
    const token = await issuer.sign({}, { jku: `${issuer.url}/evil`, x5u: `${issuer.url}/evil` }, other);
    expect(await refusal(token)).toMatch('The signature of the token is wrong.');
  });

  test('of another type', async () => {
    expect(await refusal(await issuer.sign({}, { typ: 'logout+jwt' }))).toMatch('of another type (`typ`)');
  });

  test('with an extension that is not known', async () => {
    const header = { crit: ['https://example.com/ext'], 'https://example.com/ext': true };
    expect(await refusal(await issuer.sign({}, header))).toMatch('an extension that is not supported (`crit`)');
  });

  test('that contains another token', async () => {
    expect(await refusal(await issuer.sign({}, { cty: 'JWT' }))).toMatch('contains another token (`cty`)');
  });

  test('whose payload is a token', async () => {
    const inner = await issuer.sign();
    const [header] = inner.split('.');
    expect(await refusal(`${header}.${base64url.encode(inner)}.AAAA`)).toMatch('The token is malformed.');
  });

  test('that is encrypted', async () => {
    expect(await refusal('e30.e30.e30.e30.e30')).toMatch('of no accepted kind');
  });

  test('that lacks its signature', async () => {
    const token = await issuer.sign();
    expect(await refusal(token.slice(0, token.lastIndexOf('.')))).toMatch('UNAUTHORIZED');
    expect(await refusal(token.slice(0, token.lastIndexOf('.') + 1))).toMatch('The signature of the token is wrong.');
  });

  test('that is cut off anywhere', async () => {
    const token = await issuer.sign();
    for (let end = 1; end < token.length; end += 7) expect(await refusal(token.slice(0, end))).toMatch('UNAUTHORIZED');
  });

  test('with a changed payload', async () => {
    const [header, , signature] = (await issuer.sign()).split('.');
    const payload = base64url.encode(JSON.stringify(issuer.claims({ sub: 'admin' })));
    expect(await refusal(`${header}.${payload}.${signature}`)).toMatch('The signature of the token is wrong.');
  });

  test('that is too long, before it is parsed', async () => {
    expect(await refusal(await issuer.sign({ long: 'x'.repeat(20_000) }))).toMatch('longer than 16384 characters');
  });

  test('without a claim that the application requires', async () => {
    expect(await refusal(await issuer.sign(), { requiredClaims: ['tenant'] })).toMatch('has no claim `tenant`');
  });

  test('that the application does not accept', async () => {
    const validate = () => false;
    expect(await refusal(await issuer.sign(), { validate })).toMatch('this application does not accept it');
  });

  test.each([[async () => false], [async () => true], [() => undefined], [() => 1], [() => 'yes']])(
    'if the check of the application returns no boolean: %s',
    async (validate) => {
      const context = accept(await issuer.sign(), { validate });
      await expect(context).rejects.toThrow(TypeError);
      await expect(context).rejects.toThrow('`validate` must return true or false, and no promise');
    },
  );

  test('that comes with a second one', async () => {
    const token = await issuer.sign();
    const twice = { headers: { authorization: [`Bearer ${token}`, `Bearer ${token}`] } };
    expect(await refusal(twice)).toMatch('several authorization headers');
    expect(await refusal(`${token}, Bearer ${token}`)).toMatch('not a single token');
  });

  test.each(['Bearer', 'bearer ', 'Bearer\t', 'Bearer\tx y', 'Bearer: x'])(
    'in a malformed header: %j',
    async (authorization) => {
      expect(await refusal({ headers: { authorization } })).toMatch('UNAUTHORIZED');
    },
  );

  test.each(['bearer', 'BEARER', ' Bearer '])('not for the form of the scheme: %j', async (scheme) => {
    const authorization = `${scheme} ${await issuer.sign()}`;
    expect((await adapter().context({ headers: { authorization } }, undefined)).auth.user?.id).toBe('user_1');
  });
});

describe('key ids', () => {
  test('a token without one is accepted if the issuer has one key', async () => {
    expect((await accept(await issuer.sign({}, { kid: undefined }))).auth.user?.id).toBe('user_1');
  });

  test('a token without one is refused if the issuer has several keys', async () => {
    const second = await signingKey('second');
    const jwks = { keys: [issuer.key.jwk, second.jwk] };
    expect(await refusal(await issuer.sign({}, { kid: undefined }), { jwks })).toMatch(
      'does not say which of the keys',
    );
  });

  test('two keys of one id are refused', async () => {
    const jwks = { keys: [issuer.key.jwk, other.jwk] };
    expect(await refusal(await issuer.sign(), { jwks })).toMatch('does not say which of the keys');
  });

  test('an unknown one is refused', async () => {
    expect(await refusal(await issuer.sign({}, { kid: 'unknown' }))).toMatch('a key that');
  });

  test('one that is no text is refused', async () => {
    expect(await refusal(await issuer.sign({}, { kid: 7 }))).toMatch('UNAUTHORIZED');
  });
});

describe('a token is accepted', () => {
  test('that passes all checks', async () => {
    const exp = seconds() + 60;
    const token = await issuer.sign({
      exp,
      email: 'a@example.com',
      email_verified: true,
      roles: ['admin'],
      org_id: 'o1',
    });
    const { auth, expiresAt } = await accept(token);
    expect(auth.user).toEqual({
      id: 'user_1',
      email: 'a@example.com',
      emailVerified: true,
      organization: 'o1',
      roles: ['admin'],
    });
    expect(Object.isFrozen(auth.user)).toBe(true);
    expect(expiresAt).toBe(exp * 1000);
  });

  test.each(['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'])('signed with %s', async (alg) => {
    const key = await signingKey('key', alg);
    const jwks = { keys: [key.jwk] };
    expect((await accept(await issuer.sign({}, {}, key), { jwks })).auth.user?.id).toBe('user_1');
  });

  test('signed with a secret', async () => {
    const secret = 'an application secret of 32 bytes or more';
    const bytes = new TextEncoder().encode(secret);
    const token = await new SignJWT(issuer.claims()).setProtectedHeader({ alg: 'HS256' }).sign(bytes);
    expect((await accept(token, { secret })).auth.user?.id).toBe('user_1');
  });

  test.each(['at+jwt', 'application/at+JWT', 'jwt', undefined])('of the type %j', async (typ) => {
    expect((await accept(await issuer.sign({}, { typ }))).auth.user?.id).toBe('user_1');
  });

  test('for one of several audiences', async () => {
    expect((await accept(await issuer.sign({ aud: ['other', 'api'] }))).auth.user?.id).toBe('user_1');
  });

  test('whose clock is ahead within the tolerance', async () => {
    const token = await issuer.sign({ iat: seconds() + 3, nbf: seconds() + 3 });
    expect((await accept(token)).auth.user?.id).toBe('user_1');
  });

  test('with a user of the application', async () => {
    const auth = jwt({
      issuer: issuer.url,
      audience: 'api',
      user: (claims, user) => ({ ...user, id: `${claims.iss}|${user.id}`, plan: String(claims.plan) }),
    });
    const { auth: made } = await auth.context(bearer(await issuer.sign({ plan: 'pro' })), undefined);
    const plan: string | undefined = made.user?.plan;
    expect([made.user?.id, plan]).toEqual([`${issuer.url}|user_1`, 'pro']);
  });

  test('again, without verifying its signature, until it expires', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const verify = vi.spyOn(crypto.subtle, 'verify');
    const auth = adapter();
    const token = await issuer.sign();
    for (let n = 0; n < 3; n++) expect((await auth.context(bearer(token), undefined)).auth.user?.id).toBe('user_1');
    expect(verify).toHaveBeenCalledTimes(1);
    vi.setSystemTime(Date.now() + 600_000);
    await expect(auth.context(bearer(token), undefined)).rejects.toThrow('The token has expired.');
  });
});

test('a request without a token is not signed in', async () => {
  const { auth, ...rest } = await adapter().context({ headers: {} }, undefined);
  expect([auth.user, rest]).toEqual([null, {}]);
});

test('another scheme of the header is no credential', async () => {
  const { auth } = await adapter().context({ headers: { authorization: 'Basic dXNlcjpwYXNz' } }, undefined);
  expect(auth.user).toBe(null);
});

describe('options are refused', () => {
  const url = 'https://login.example.com';
  const secret = 'an application secret of 32 bytes or more';

  test('without an audience and authorized parties', () => {
    expect(() => jwt({ issuer: url })).toThrow('Set `audience` (the claim `aud`) or `authorizedParties`');
  });

  test('with an empty audience', () => {
    expect(() => jwt({ issuer: url, audience: '' })).toThrow('`audience` must be a text');
    expect(() => jwt({ issuer: url, audience: [] })).toThrow('`audience` must be a text');
  });

  test('with algorithms of another kind of key, or none', () => {
    const options = { issuer: url, audience: 'api' };
    expect(() => jwt({ ...options, algorithms: ['HS256'] })).toThrow('HS256 was given');
    expect(() => jwt({ ...options, secret, algorithms: ['RS256'] })).toThrow('RS256 was given');
    expect(() => jwt({ ...options, algorithms: ['none'] })).toThrow('none was given');
    expect(() => jwt({ ...options, algorithms: [] })).toThrow('`algorithms` may contain');
  });

  test('with a secret and public keys', () => {
    expect(() => jwt({ issuer: url, audience: 'api', secret, jwks: `${url}/keys` })).toThrow('not both');
  });

  test('with a public key as the secret', async () => {
    const pem = await exportSPKI(issuer.key.publicKey);
    expect(() => jwt({ issuer: url, audience: 'api', secret: pem })).toThrow('belong into `jwks`');
    const json = JSON.stringify(issuer.key.jwk);
    expect(() => jwt({ issuer: url, audience: 'api', secret: json })).toThrow('belong into `jwks`');
  });

  test('with a short secret', () => {
    const made = (bytes: number) => () => jwt({ issuer: url, audience: 'api', secret: new Uint8Array(bytes) });
    expect(made(MIN_SECRET_BYTES)).not.toThrow();
    expect(made(MIN_SECRET_BYTES - 1)).toThrow(`at least ${MIN_SECRET_BYTES} bytes`);
  });

  test('with a secret in the public keys', () => {
    const jwks = { keys: [{ kty: 'oct', k: base64url.encode(secret) }] };
    expect(() => jwt({ issuer: url, audience: 'api', jwks })).toThrow('no public key for signatures');
  });

  test('with keys over HTTP', () => {
    expect(() => jwt({ issuer: 'http://login.example.com', audience: 'api' })).toThrow('must begin with https://');
    expect(() => jwt({ issuer: 'http://keycloak:8080', audience: 'api', allowHttp: true })).not.toThrow();
  });

  test('with a large tolerance', () => {
    expect(() => jwt({ issuer: url, audience: 'api', clockTolerance: 3_600 })).toThrow('between 0 and 60 seconds');
  });
});
