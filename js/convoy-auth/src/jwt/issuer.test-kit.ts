/** An issuer on this machine, which serves its discovery document and its keys over HTTP, and signs tokens. */

import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ConvoyRequest } from '@avvos/convoy';
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';

export interface SigningKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
  readonly jwk: JWK;
}

export async function signingKey(kid: string, alg = 'RS256'): Promise<SigningKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
}

/** The time, in seconds. */
export const seconds = () => Math.floor(Date.now() / 1000);

/** A request with a bearer token. */
export function bearer(token: string, others: ConvoyRequest['headers'] = {}): ConvoyRequest {
  return { headers: { authorization: `Bearer ${token}`, ...others } };
}

export class TestIssuer {
  readonly url: string;
  readonly key: SigningKey;
  /** The published keys. */
  keys: JWK[];
  /** Requests for the keys so far. */
  keyRequests = 0;
  /** Requests for the discovery document so far. */
  discoveryRequests = 0;
  /** Replaces the answer to a request for the keys. */
  answer: ((response: ServerResponse) => void) | null = null;
  /** The discovery document. */
  document: Record<string, unknown>;
  readonly #server: Server;

  /** With a new key, or the given one: to make an RSA key takes a while. */
  static async start(key?: SigningKey): Promise<TestIssuer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    return new TestIssuer(server, `http://127.0.0.1:${port}`, key ?? (await signingKey('first')));
  }

  private constructor(server: Server, url: string, key: SigningKey) {
    this.#server = server;
    this.url = url;
    this.key = key;
    this.keys = [key.jwk];
    this.document = { issuer: url, jwks_uri: `${url}/keys` };
    server.on('request', (request, response: ServerResponse) => {
      response.setHeader('connection', 'close');
      if (request.url === '/.well-known/openid-configuration') {
        this.discoveryRequests += 1;
        response.end(JSON.stringify(this.document));
      } else if (request.url === '/keys') {
        this.keyRequests += 1;
        if (this.answer === null) response.end(JSON.stringify({ keys: this.keys }));
        else this.answer(response);
      } else {
        response.writeHead(404).end();
      }
    });
  }

  /** Answers with an error until `repair`. */
  fail(): void {
    this.answer = (response) => response.writeHead(503).end();
  }

  repair(): void {
    this.answer = null;
  }

  /** Claims of a token that is accepted for the audience `api`. */
  claims(changes: JWTPayload = {}): JWTPayload {
    return { iss: this.url, aud: 'api', sub: 'user_1', iat: seconds(), exp: seconds() + 600, ...changes };
  }

  /** A token. A claim or a header that is `undefined` is left out. */
  async sign(claims: JWTPayload = {}, header: Record<string, unknown> = {}, key = this.key): Promise<string> {
    const all = { alg: key.alg, kid: key.kid, typ: 'JWT', ...header };
    const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
    return new SignJWT(this.claims(claims))
      .setProtectedHeader(given as { alg: string })
      .sign(key.privateKey, { crit: { 'https://example.com/ext': true } });
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
