/**
 * A provider of OpenID Connect: its page asks nothing, and leads back at once. Codes are used once, by the client and
 * with the verifier (PKCE) for which they were made.
 */
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from 'jose';

export interface OidcPerson {
  readonly sub: string;
  readonly name: string;
  readonly email: string;
}

export interface OidcProvider {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  close(): Promise<void>;
}

/** What the client asked for with a code. */
interface Grant {
  readonly redirectUri: string | null;
  readonly challenge: string | null;
  readonly nonce: string | null;
}

const clientId = 'convoy-example';
const clientSecret = randomUUID();

/** Starts a provider on a free port. Everyone who comes to it is this person. */
export async function startOidcProvider(person: OidcPerson): Promise<OidcProvider> {
  const { publicKey, privateKey } = await generateKeyPair('ES256');
  const jwk = { ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256', use: 'sig' };
  const grants = new Map<string, Grant>();
  const accessTokens = new Set<string>();
  const server = createServer((request, response) => {
    answer(request)
      .catch((error: unknown) => ({ status: 500, body: { error: 'server_error', error_description: String(error) } }))
      .then((reply) => send(response, reply));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://localhost:${(server.address() as AddressInfo).port}`;

  async function answer(request: IncomingMessage): Promise<Reply> {
    const url = new URL(request.url ?? '/', issuer);
    switch (url.pathname) {
      case '/.well-known/openid-configuration':
        return { status: 200, body: configurationOf(issuer) };
      case '/jwks':
        return { status: 200, body: { keys: [jwk] } };
      case '/authorize':
        return authorize(url.searchParams);
      case '/token':
        return token(new URLSearchParams(await text(request)), request.headers.authorization);
      case '/userinfo': {
        const [, bearer = ''] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? [];
        return accessTokens.has(bearer) ? { status: 200, body: claimsOf(person) } : refusal(401, 'invalid_token');
      }
      default:
        return refusal(404, 'not_found');
    }
  }

  function authorize(query: URLSearchParams): Reply {
    const redirectUri = query.get('redirect_uri');
    if (query.get('client_id') !== clientId || redirectUri === null) return refusal(400, 'invalid_request');
    const code = randomUUID();
    grants.set(code, { redirectUri, challenge: query.get('code_challenge'), nonce: query.get('nonce') });
    const back = new URL(redirectUri);
    back.searchParams.set('code', code);
    back.searchParams.set('state', query.get('state') ?? '');
    return { status: 302, location: back.href };
  }

  async function token(form: URLSearchParams, authorization: string | undefined): Promise<Reply> {
    if (!isClient(form, authorization)) return refusal(401, 'invalid_client');
    const code = form.get('code') ?? '';
    const grant = grants.get(code);
    grants.delete(code);
    const challenge = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url');
    if (grant?.redirectUri !== form.get('redirect_uri') || grant?.challenge !== challenge) {
      return refusal(400, 'invalid_grant');
    }
    const accessToken = randomUUID();
    accessTokens.add(accessToken);
    const claims = { ...claimsOf(person), ...(grant.nonce === null ? {} : { nonce: grant.nonce }) };
    const idToken = await idTokenOf(claims, issuer, privateKey);
    return {
      status: 200,
      body: { access_token: accessToken, id_token: idToken, token_type: 'Bearer', expires_in: 3_600 },
    };
  }

  return {
    issuer,
    clientId,
    clientSecret,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

type Reply = { readonly status: number; readonly body: object } | { readonly status: 302; readonly location: string };

const refusal = (status: number, error: string): Reply => ({ status, body: { error } });

function send(response: ServerResponse, reply: Reply): void {
  if ('location' in reply) response.writeHead(reply.status, { location: reply.location }).end();
  else response.writeHead(reply.status, { 'content-type': 'application/json' }).end(JSON.stringify(reply.body));
}

const claimsOf = (person: OidcPerson) => ({ ...person, email_verified: true });

function idTokenOf(claims: Record<string, unknown>, issuer: string, key: CryptoKey): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', kid: 'one' })
    .setIssuer(issuer)
    .setAudience(clientId)
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(key);
}

/** The client's secret may be in the form or in the header. */
function isClient(form: URLSearchParams, authorization: string | undefined): boolean {
  if (authorization === undefined) {
    return form.get('client_id') === clientId && form.get('client_secret') === clientSecret;
  }
  return authorization === `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`;
}

function configurationOf(issuer: string) {
  return {
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    jwks_uri: `${issuer}/jwks`,
    response_types_supported: ['code'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['ES256'],
    code_challenge_methods_supported: ['S256'],
  };
}
