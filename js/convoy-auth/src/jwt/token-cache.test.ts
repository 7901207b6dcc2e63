import { expect, test } from 'vitest';
import type { Claims } from './claims.js';
import type { KeySet } from './key-set.js';
import { MAX_ENTRIES, TokenCache } from './token-cache.js';

test('as many tokens as the limit are remembered, and one more displaces the one used least recently', () => {
  const cache = new TokenCache();
  const keys = {} as KeySet;
  const claims = { exp: Date.now() } as Claims;
  const isKnown = (token: number) => cache.get(`token ${token}`, keys) === claims;
  for (let token = 0; token < MAX_ENTRIES; token++) cache.set(`token ${token}`, keys, claims);
  // Uses them in their order, so 1 is the oldest after 0 is used again.
  for (let token = 0; token < MAX_ENTRIES; token++) expect(isKnown(token)).toBe(true);
  expect(isKnown(0)).toBe(true);
  cache.set('one more', keys, claims);
  expect([isKnown(0), isKnown(1), isKnown(2), cache.get('one more', keys)]).toEqual([true, false, true, claims]);
});
