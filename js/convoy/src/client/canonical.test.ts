import { expect, test } from 'vitest';
import { canonicalArgs } from './canonical.js';

test('equal arguments have the same text in any order of keys', () => {
  expect(canonicalArgs({ b: [{ d: 1, c: 2 }], a: null })).toBe('{"a":null,"b":[{"c":2,"d":1}]}');
  expect(canonicalArgs({ a: null, b: [{ c: 2, d: 1 }] })).toBe('{"a":null,"b":[{"c":2,"d":1}]}');
});

test('undefined keys count as absent, and absent arguments as an empty object', () => {
  expect(canonicalArgs({ a: undefined, b: 1 })).toBe('{"b":1}');
  expect(canonicalArgs(undefined)).toBe('{}');
});

test('a Date is what JSON makes of it', () => {
  expect(canonicalArgs({ at: new Date(0) })).toBe('{"at":"1970-01-01T00:00:00.000Z"}');
});

test.each([
  ['NaN', { a: { b: Number.NaN } }, ['a', 'b']],
  ['undefined in an array', { a: [1, undefined] }, ['a', 1]],
  ['a Map', { a: new Map() }, ['a']],
])('%s is refused with its path', (_what, args, path) => {
  expect(() => canonicalArgs(args)).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGS', details: { issues: [expect.objectContaining({ path })] } }),
  );
});
