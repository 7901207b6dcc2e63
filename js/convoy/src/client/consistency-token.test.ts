import { expect, test } from 'vitest';
import { acknowledgedBy, ConsistencyToken, isBefore } from './consistency-token.js';

test.each([
  ['no position', [], null],
  ['responses without one', ['h.2', null, undefined, ''], 'h.2'],
  ['positions of one source', ['h.1', 'h.3', 'h.2'], 'h.3'],
  ['a position of another source', ['h.9', 'i.1'], 'i.1'],
  ['a position of the first source again', ['h.9', 'i.1', 'h.2'], 'h.2'],
] as const)('the latest of %s', (_what, received, latest) => {
  const token = new ConsistencyToken();
  for (const position of received) token.advance(position);
  expect(token.latest).toBe(latest);
});

test.each([
  ['later', 'h.3', 'h.2', false],
  ['equal', 'h.2', 'h.2', false],
  ['earlier', 'h.1', 'h.2', true],
  ['unknown', undefined, 'h.2', true],
  ['of another source', 'i.9', 'h.2', true],
  ['unknown, with no acknowledged change', undefined, null, false],
] as const)('a result whose position is %s is behind or not', (_what, position, required, behind) => {
  expect(isBefore(position, required)).toBe(behind);
});

test('clients of one server in one process share the acknowledged position', () => {
  acknowledgedBy('http://one.test').advance('h.4');
  expect(acknowledgedBy('http://one.test').latest).toBe('h.4');
  expect(acknowledgedBy('http://two.test').latest).toBeNull();
});
