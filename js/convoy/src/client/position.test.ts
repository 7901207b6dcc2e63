import { expect, test } from 'vitest';
import { Position } from './position.js';

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
