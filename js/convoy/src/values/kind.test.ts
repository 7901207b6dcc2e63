import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { describeGiven, isPlainObject } from './kind.js';

it('tells plain objects from others', async () => {
  const plain = [{}, { a: 1 }, Object.create(null), runInNewContext('({})'), await import('./kind.js')];
  expect(plain.map(isPlainObject)).toEqual(plain.map(() => true));
  const others = [
    null,
    undefined,
    5,
    'x',
    [],
    () => 0,
    new Map(),
    new Date(),
    Promise.resolve(),
    Object.create({ a: 1 }),
  ];
  expect(others.map(isPlainObject)).toEqual(others.map(() => false));
});

it('describes a value', () => {
  const values = [undefined, null, 5, 'a"b', 1n, Symbol('s'), [], {}, () => 0, new Map(), Promise.resolve()];
  expect(values.map(describeGiven)).toEqual([
    'undefined',
    'null',
    '5',
    '"a\\"b"',
    '1n',
    'Symbol(s)',
    'an array',
    'an object',
    'a function',
    'an instance of Map',
    'an instance of Promise',
  ]);
  expect(describeGiven('x'.repeat(100))).toBe(`"${'x'.repeat(80)}…"`);
  expect(describeGiven(Object.create({ constructor: undefined }))).toBe('an instance of a class');
});
