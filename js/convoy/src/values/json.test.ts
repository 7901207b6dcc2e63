import { describe, expect, it } from 'vitest';
import { formatPath, MAX_DEPTH, sendingProblem } from './json.js';
import { assertStorable, storageProblem } from './storable-json.js';

function nested(depth: number): unknown {
  let value: unknown = 'leaf';
  for (let level = 0; level < depth; level++) value = { inner: value };
  return value;
}

const circle: { self?: unknown } = {};
circle.self = [circle];

describe('storing', () => {
  it.each([
    ['plain values', { text: 'ä€😀', number: -1.5e300, yes: true, none: null, list: [1, [2, { a: 3 }]] }],
    ['a key that is undefined, which counts as absent', { a: undefined, b: 1 }],
    ['objects without a prototype', Object.assign(Object.create(null), { a: 1 })],
    ['64 levels', nested(MAX_DEPTH)],
    ['a key named __proto__', JSON.parse('{"__proto__": {"a": 1}}')],
  ])('accepts %s', (_, value) => {
    expect(storageProblem(value)).toBeNull();
  });

  it.each([
    ['bigint', { a: { b: 1n } }, 'a.b'],
    ['Date', { at: new Date() }, 'at'],
    ['Map', { a: [new Map()] }, 'a[0]'],
    ['Set', [new Set()], '[0]'],
    ['a function', { call: () => 1 }, 'call'],
    ['a symbol', { s: Symbol('x') }, 's'],
    ['NaN', { n: [1, Number.NaN] }, 'n[1]'],
    ['Infinity', { n: Number.NEGATIVE_INFINITY }, 'n'],
    ['undefined in an array', { list: [1, undefined] }, 'list[1]'],
    ['a hole in an array', { list: Array(1) }, 'list[0]'],
    ['half a surrogate pair', { text: 'a\ud800b' }, 'text'],
    ['half a surrogate pair in a key', { a: { 'x\udc00': 1 } }, 'a.x\udc00'],
    ['a NUL character', { text: 'a\u0000b' }, 'text'],
    ['a NUL character in a key', { 'a\u0000': 1 }, 'a\u0000'],
    ['a class instance', { url: new URL('http://localhost') }, 'url'],
    ['an object with toJSON of its own class', { a: Buffer.from('x') }, 'a'],
    ['a cycle', { circle }, null],
    ['65 levels', nested(MAX_DEPTH + 1), null],
  ])('refuses %s', (_, value, path) => {
    const problem = storageProblem(value);
    expect(problem).not.toBeNull();
    if (path !== null) expect(formatPath(problem?.path ?? [])).toBe(path);
  });

  it('refuses with INVALID_ARGS, the table and the path', () => {
    expect(() => assertStorable({ tags: ['a', 1n] }, { table: 'posts' })).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGS',
        message: expect.stringMatching(/^posts: tags\[1\] is a bigint/),
        details: { table: 'posts', issues: [{ path: ['tags', 1], message: expect.any(String) }] },
      }),
    );
  });
});

describe('sending', () => {
  it.each([
    ['Date, which becomes a string', { at: new Date(0) }],
    ['values with toJSON', { url: new URL('http://localhost'), own: { toJSON: () => 'text' } }],
    ['half a surrogate pair, which JSON escapes', 'a\ud800'],
  ])('accepts %s', (_, value) => {
    expect(sendingProblem(value)).toBeNull();
  });

  it.each([
    ['a Promise that was not awaited', { user: Promise.resolve(1) }, 'user', /await/],
    ['Map, which JSON would serialize as empty', { m: new Map([[1, 2]]) }, 'm', /Map/],
    ['NaN, which JSON would serialize as null', [Number.NaN], '[0]', /NaN/],
    ['an invalid Date', { at: new Date(Number.NaN) }, 'at', /invalid Date/],
    ['toJSON that returns a value JSON cannot represent', { a: { toJSON: () => 1n } }, 'a', /bigint/],
  ])('refuses %s', (_, value, path, reason) => {
    const problem = sendingProblem(value);
    expect(formatPath(problem?.path ?? [])).toBe(path);
    expect(problem?.reason).toMatch(reason);
  });
});
