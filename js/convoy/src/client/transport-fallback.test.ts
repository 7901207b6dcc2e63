import { expect, test } from 'vitest';
import { BEST, BETTER_AFTER_MS, fallback, proven, retryPreferred } from './transport-fallback.js';

test('what does not work gives way to the next, and the last to the first', () => {
  const socket = fallback(proven(BEST), 1000);
  expect(socket).toEqual({ way: 'socket', proven: false, leftAt: 1000 });
  const polling = fallback(proven(socket), 2000);
  expect(polling).toEqual({ way: 'polling', proven: false, leftAt: 1000 });
  expect(fallback(polling, 3000)).toEqual(BEST);
});

test('what works is kept, until the best has been left alone for a while', () => {
  const socket = proven(fallback(BEST, 1000));
  expect(proven(socket)).toBe(socket);
  expect(retryPreferred(socket, 1000 + BETTER_AFTER_MS - 1)).toBe(socket);
  expect(retryPreferred(socket, 1000 + BETTER_AFTER_MS)).toEqual(BEST);
  const best = proven(BEST);
  expect(retryPreferred(best, Number.MAX_SAFE_INTEGER)).toBe(best);
});
