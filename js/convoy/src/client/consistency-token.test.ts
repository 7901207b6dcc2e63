import { expect, test } from 'vitest';
import { acknowledgedBy, isBefore, Position } from './consistency-token.js';

test.each([
  ['nothing said', [], null],
  ['nothing new', ['h.2', null, undefined, ''], 'h.2'],
  ['later ones of a history', ['h.1', 'h.3', 'h.2'], 'h.3'],
  ['another history, whatever came last', ['h.9', 'i.1'], 'i.1'],
  ['and back', ['h.9', 'i.1', 'h.2'], 'h.2'],
] as const)('%s', (_what, said, latest) => {
  const position = new Position();
  for (const one of said) position.note(one);
  expect(position.latest).toBe(latest);
});

test.each([
  ['what was shown later', 'h.3', 'h.2', false],
  ['what was shown then', 'h.2', 'h.2', false],
  ['what was shown before', 'h.1', 'h.2', true],
  ['what was shown at no known moment', undefined, 'h.2', true],
  ['what belongs to another history', 'i.9', 'h.2', true],
  ['anything, where nothing has happened', undefined, null, false],
] as const)('%s may lack a change, or not', (_what, shown, position, behind) => {
  expect(isBefore(shown, position)).toBe(behind);
});

test('clients of one server in one process share what they were told', () => {
  acknowledgedBy('http://one.test').note('h.4');
  expect(acknowledgedBy('http://one.test').latest).toBe('h.4');
  expect(acknowledgedBy('http://two.test').latest).toBeNull();
});
