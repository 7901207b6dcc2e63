import { expect, test } from 'vitest';
import { bearerToken, headerToken, MAX_TOKEN_CHARS } from './credentials.js';

test('a token of the limit is read, and one with a character more is refused', () => {
  const longest = 'x'.repeat(MAX_TOKEN_CHARS);
  const bearer = (token: string) => bearerToken({ headers: { authorization: `Bearer ${token}` } });
  const header = (token: string) => headerToken({ headers: { 'x-key': token } }, 'x-key');
  expect([bearer(longest), header(longest)]).toEqual([longest, longest]);
  const refusal = { code: 'UNAUTHORIZED', message: expect.stringContaining(`longer than ${MAX_TOKEN_CHARS} char`) };
  for (const read of [bearer, header]) expect(() => read(`${longest}x`)).toThrow(expect.objectContaining(refusal));
});
