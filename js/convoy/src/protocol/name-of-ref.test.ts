import { expect, it } from 'vitest';
import { nameOfRef } from './name-of-ref.js';
import { type ApiRef, makeQueryRef } from './refs.js';

it('is the name of the function', () => {
  expect(nameOfRef(makeQueryRef('messages.list'))).toBe('messages.list');
});

it.each([
  ['messages.list', "instead of 'messages.list'"],
  [undefined, 'instead of a value of type undefined'],
  [null, 'instead of null'],
  [{}, 'instead of a value of type object'],
  [() => {}, 'instead of a value of type function'],
])('of %j is an error that names what to pass', (given, part) => {
  expect(() => nameOfRef(given as unknown as ApiRef)).toThrow(part);
  expect(() => nameOfRef(given as unknown as ApiRef)).toThrow(/^Pass a function of the generated `api`.*makeQueryRef/);
});
