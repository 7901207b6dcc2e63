import { afterEach, expect, it, vi } from 'vitest';
import { hashToken, TokenSeal } from './session-tokens.js';

afterEach(() => vi.unstubAllEnvs());

const token = 'u3pT0yKZ8Qw1n5bX7vR2mC4dF6gH9jL0';

it('a sealed token can be opened with the secret, and is different each time', () => {
  const seal = new TokenSeal({ secret: 'one' });
  expect(seal.open(seal.seal(token))).toBe(token);
  expect(seal.seal(token)).not.toBe(seal.seal(token));
  expect(seal.seal(token)).not.toContain(token);
});

it('after a rotation, tokens sealed with an older secret can be opened while that is listed', () => {
  const before = new TokenSeal({ secrets: [{ value: 'old' }] }).seal(token);
  expect(new TokenSeal({ secrets: [{ value: 'new' }, { value: 'old' }] }).open(before)).toBe(token);
  expect(new TokenSeal({ secrets: [{ value: 'new' }], secret: 'old' }).open(before)).toBe(token);
  expect(new TokenSeal({ secrets: [{ value: 'new' }] }).open(before)).toBeNull();
});

it('secrets are read from the environment as Better Auth reads them', () => {
  vi.stubEnv('BETTER_AUTH_SECRETS', '2:second, 1:first');
  expect(new TokenSeal({}).open(new TokenSeal({ secret: 'first', secrets: [{ value: 'first' }] }).seal(token))).toBe(
    token,
  );
  expect(new TokenSeal({ secrets: [{ value: 'second' }] }).open(new TokenSeal({}).seal(token))).toBe(token);
});

it.each(['', 'abc', 'A'.repeat(60)])('%j is no sealed token', (text) => {
  expect(new TokenSeal({ secret: 'one' }).open(text)).toBeNull();
});

it('the hash of a token is its SHA-256', () => {
  expect(hashToken('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});
