import { expect, test } from 'vitest';
import { BEST, BETTER_AFTER_MS, forConnecting, proven, withoutThis } from './ways.js';

test('what does not work gives way to the next, and the last to the first', () => {
  const socket = withoutThis(proven(BEST), 1000);
  expect(socket).toEqual({ way: 'socket', proven: false, leftAt: 1000 });
  const polling = withoutThis(proven(socket), 2000);
  expect(polling).toEqual({ way: 'polling', proven: false, leftAt: 1000 });
  expect(withoutThis(polling, 3000)).toEqual(BEST);
});

test('what works is kept, until the best has been left alone for a while', () => {
  const socket = proven(withoutThis(BEST, 1000));
  expect(proven(socket)).toBe(socket);
  expect(forConnecting(socket, 1000 + BETTER_AFTER_MS - 1)).toBe(socket);
  expect(forConnecting(socket, 1000 + BETTER_AFTER_MS)).toEqual(BEST);
  const best = proven(BEST);
  expect(forConnecting(best, Number.MAX_SAFE_INTEGER)).toBe(best);
});
