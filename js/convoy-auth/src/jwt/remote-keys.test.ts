/** Keys that are fetched: discovery, rotation, an issuer that is away, and one that answers with something else. */

import type { ServerResponse } from 'node:http';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { MAX_BYTES, TIMEOUT_MS } from './fetch-json.js';
import { bearer, type SigningKey, signingKey, TestIssuer } from './issuer.test-kit.js';
import { jwt } from './jwt.js';
import { MAX_KEYS } from './key-set.js';
import { FAILURE_PAUSE_MS, MAX_AGE_MS, UNKNOWN_KEY_PAUSE_MS } from './remote-keys.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

let first: SigningKey;
beforeAll(async () => {
  first = await signingKey('first');
});

let issuer: TestIssuer;
let warnings: string[];
beforeEach(async () => {
  warnings = [];
  vi.spyOn(console, 'warn').mockImplementation((text: string) => void warnings.push(text));
  vi.useFakeTimers({ toFake: ['Date'] });
  issuer = await TestIssuer.start(first);
});
afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  await issuer.close();
});

const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);
const adapter = () => jwt({ issuer: issuer.url, audience: 'api' });
/** The id of the user of a token, or the code and message of the error. */
const outcome = (auth: ReturnType<typeof adapter>, token: string) =>
  auth.context(bearer(token), undefined).then(
    ({ auth: made }) => made.user?.id,
    (error) => `${error.code}: ${error.message}`,
  );
const AWAY = /^UNAVAILABLE: The keys of http:\/\/127.0.0.1:\d+ could not be fetched/;

test('the keys are found by discovery, and fetched once', async () => {
  const auth = adapter();
  for (let n = 0; n < 3; n++) expect(await outcome(auth, await issuer.sign({ n }))).toBe('user_1');
  expect([issuer.discoveryRequests, issuer.keyRequests]).toEqual([1, 1]);
});

test('nothing is fetched before the first token', async () => {
  await adapter().context({ headers: {} }, undefined);
  expect([issuer.discoveryRequests, issuer.keyRequests]).toEqual([0, 0]);
});

test('many calls wait for one fetch', async () => {
  const auth = adapter();
  const tokens = await Promise.all(Array.from({ length: 50 }, (_, n) => issuer.sign({ n })));
  const found = await Promise.all(tokens.map((token) => outcome(auth, token)));
  expect(new Set(found)).toEqual(new Set(['user_1']));
  expect(issuer.keyRequests).toBe(1);
});

describe('rotation', () => {
  test('a token of a new key is accepted at once, if the keys are 30 seconds old, and not before', async () => {
    const auth = adapter();
    await outcome(auth, await issuer.sign());
    const next = await signingKey('next');
    issuer.keys = [issuer.key.jwk, next.jwk];
    const token = await issuer.sign({}, {}, next);
    pass(UNKNOWN_KEY_PAUSE_MS - 1);
    expect(await outcome(auth, token)).toMatch('UNAUTHORIZED: The token is signed with a key that');
    pass(1);
    expect(await outcome(auth, token)).toBe('user_1');
    expect(issuer.keyRequests).toBe(2);
  });

  test('tokens with invented key ids cause one fetch in 30 seconds', async () => {
    const auth = adapter();
    await outcome(auth, await issuer.sign());
    pass(31 * SECOND);
    for (let n = 0; n < 20; n++) {
      expect(await outcome(auth, await issuer.sign({}, { kid: `invented ${n}` }))).toMatch('UNAUTHORIZED');
    }
    expect(issuer.keyRequests).toBe(2);
    pass(31 * SECOND);
    await outcome(auth, await issuer.sign({}, { kid: 'invented' }));
    expect(issuer.keyRequests).toBe(3);
  });

  test('a token of an unknown key is not refused for good while the issuer is away', async () => {
    const auth = adapter();
    await outcome(auth, await issuer.sign());
    const next = await signingKey('next');
    pass(31 * SECOND);
    issuer.fail();
    const token = await issuer.sign({}, {}, next);
    expect(await outcome(auth, token)).toMatch(AWAY);
    issuer.keys = [next.jwk];
    issuer.repair();
    pass(6 * SECOND);
    expect(await outcome(auth, token)).toBe('user_1');
  });

  test('a withdrawn key ends its tokens within ten minutes, also those that were verified before', async () => {
    const auth = adapter();
    const exp = Math.floor(Date.now() / 1000) + 3_600;
    const token = await issuer.sign({ exp });
    expect(await outcome(auth, token)).toBe('user_1');
    issuer.keys = [(await signingKey('next')).jwk];
    pass(9 * MINUTE);
    expect(await outcome(auth, token)).toBe('user_1');
    pass(2 * MINUTE);
    expect(await outcome(auth, token)).toMatch('UNAUTHORIZED: The token is signed with a key that');
  });
});

describe('while the issuer is away', () => {
  test('its keys are used for an hour, and not longer', async () => {
    const auth = adapter();
    const exp = Math.floor(Date.now() / 1000) + 7_200;
    const token = await issuer.sign({ exp });
    expect(await outcome(auth, token)).toBe('user_1');
    issuer.fail();
    pass(MAX_AGE_MS - 1);
    expect(await outcome(auth, token)).toBe('user_1');
    expect(await outcome(auth, await issuer.sign({ exp, n: 1 }))).toBe('user_1');
    expect(warnings.join()).toMatch('answered with status 503');
    pass(1);
    expect(await outcome(auth, token)).toMatch(AWAY);
    issuer.repair();
    pass(6 * SECOND);
    expect(await outcome(auth, token)).toBe('user_1');
  });

  test('tokens are not called wrong', async () => {
    issuer.fail();
    expect(await outcome(adapter(), await issuer.sign())).toMatch(AWAY);
  });

  test('it is asked once in five seconds', async () => {
    issuer.fail();
    const auth = adapter();
    const token = await issuer.sign();
    for (let n = 0; n < 10; n++) expect(await outcome(auth, token)).toMatch(AWAY);
    issuer.repair();
    pass(FAILURE_PAUSE_MS - 1);
    expect(await outcome(auth, token)).toMatch(AWAY);
    expect(issuer.keyRequests).toBe(1);
    pass(1);
    expect(await outcome(auth, token)).toBe('user_1');
  });

  test('a refused connection is the same', async () => {
    const token = await issuer.sign();
    await issuer.close();
    expect(await outcome(adapter(), token)).toMatch(AWAY);
    expect(warnings.join()).toMatch('ECONNREFUSED');
    issuer = await TestIssuer.start(first);
  });
});

describe('an answer is waited for no longer than five seconds', () => {
  test.each([
    ['that does not begin', () => {}],
    ['that does not end', (response: ServerResponse) => void response.write('{"keys":[')],
  ])('%s', async (_what, answer) => {
    const controller = new AbortController();
    const timeout = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(controller.signal);
    issuer.answer = (response) => {
      answer(response);
      controller.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError'));
    };
    expect(await outcome(adapter(), await issuer.sign())).toMatch(AWAY);
    expect(warnings.join()).toMatch('aborted due to timeout');
    expect(timeout).toHaveBeenLastCalledWith(TIMEOUT_MS);
  });
});

describe('an answer is not used', () => {
  const refused = async () => {
    expect(await outcome(adapter(), await issuer.sign())).toMatch(AWAY);
    return warnings.join('\n');
  };

  test('that is very large', async () => {
    issuer.answer = (response) => {
      // Endless: only the limit ends it.
      const write = () => {
        while (response.write(' '.repeat(65_536)));
        response.once('drain', write);
      };
      write();
    };
    expect(await refused()).toMatch(`is larger than ${MAX_BYTES} bytes`);
  });

  test('that has a byte more than the limit, and one of the limit is used', async () => {
    const answerOf = (bytes: number) => (response: ServerResponse) =>
      void response.end(JSON.stringify({ keys: issuer.keys }).padEnd(bytes));
    issuer.answer = answerOf(MAX_BYTES);
    expect(await outcome(adapter(), await issuer.sign())).toBe('user_1');
    issuer.answer = answerOf(MAX_BYTES + 1);
    expect(await refused()).toMatch(`is larger than ${MAX_BYTES} bytes`);
  });

  test('that redirects', async () => {
    issuer.answer = (response) => response.writeHead(302, { location: 'https://evil.example/keys' }).end();
    expect(await refused()).toMatch('answered with status 302');
  });

  test('that is no JSON', async () => {
    issuer.answer = (response) => response.end('<html>');
    expect(await refused()).toMatch('did not answer with JSON');
  });

  test('that is no key set', async () => {
    issuer.answer = (response) => response.end('null');
    expect(await refused()).toMatch('has no list `keys`');
  });

  test('with a key more than the limit, and one with as many is used', async () => {
    const others = Array.from({ length: MAX_KEYS - 1 }, (_, n) => ({ ...issuer.key.jwk, kid: `key ${n}` }));
    issuer.keys = [...others, issuer.key.jwk];
    expect(await outcome(adapter(), await issuer.sign())).toBe('user_1');
    issuer.keys = [...issuer.keys, { ...issuer.key.jwk, kid: 'one more' }];
    expect(await refused()).toMatch(`more than ${MAX_KEYS} keys`);
  });

  test('with symmetric keys only', async () => {
    issuer.keys = [{ kty: 'oct', k: 'c2VjcmV0', kid: 'first', alg: 'HS256' }];
    expect(await refused()).toMatch('no public key for signatures');
  });

  test('with private keys, keys for encryption, or unknown keys', async () => {
    issuer.keys = [
      { ...issuer.key.jwk, d: 'AQAB' },
      { ...issuer.key.jwk, use: 'enc' },
      { kty: 'of another kind', kid: 'first', alg: 'RS256' },
    ];
    expect(await refused()).toMatch('no public key for signatures');
  });

  test('of a discovery document of another issuer', async () => {
    issuer.document = { ...issuer.document, issuer: 'https://evil.example' };
    expect(await refused()).toMatch('`issuer` must be exactly that text');
  });

  test('of a discovery document that names keys over HTTP', async () => {
    issuer.document = { ...issuer.document, jwks_uri: 'http://evil.example/keys' };
    expect(await refused()).toMatch('must begin with https://');
  });
});

test('a symmetric key beside public ones is ignored', async () => {
  issuer.keys = [issuer.key.jwk, { kty: 'oct', k: 'c2VjcmV0', kid: 'secret', alg: 'HS256' }];
  const auth = adapter();
  expect(await outcome(auth, await issuer.sign())).toBe('user_1');
  const { SignJWT } = await import('jose');
  const forged = await new SignJWT(issuer.claims())
    .setProtectedHeader({ alg: 'HS256', kid: 'secret' })
    .sign(new TextEncoder().encode('secret'.padEnd(32, '\0')));
  expect(await outcome(auth, forged)).toMatch('an algorithm that is not allowed');
});
