import { expect, test } from 'vitest';
import { fallback, proven, RETRY_PREFERRED_AFTER_MS, retryPreferred, untried } from './transport-fallback.js';

const KINDS = ['stream', 'socket', 'polling'] as const;
const PREFERRED = untried(KINDS);

test('a kind that fails is replaced by the next, and the last by the first', () => {
  const socket = fallback(proven(PREFERRED), 1000);
  expect(socket).toEqual({ kinds: KINDS, kind: 'socket', proven: false, preferredFailedAt: 1000 });
  const polling = fallback(proven(socket), 2000);
  expect(polling).toEqual({ kinds: KINDS, kind: 'polling', proven: false, preferredFailedAt: 1000 });
  expect(fallback(polling, 3000)).toEqual(PREFERRED);
});

test('a kind that works is kept until the preferred one is due for a retry', () => {
  const socket = proven(fallback(PREFERRED, 1000));
  expect(proven(socket)).toBe(socket);
  expect(retryPreferred(socket, 1000 + RETRY_PREFERRED_AFTER_MS - 1)).toBe(socket);
  expect(retryPreferred(socket, 1000 + RETRY_PREFERRED_AFTER_MS)).toEqual(PREFERRED);
  const best = proven(PREFERRED);
  expect(retryPreferred(best, Number.MAX_SAFE_INTEGER)).toBe(best);
});
