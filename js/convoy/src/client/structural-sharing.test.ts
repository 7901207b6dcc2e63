import { expect, test } from 'vitest';
import { replaceEqualDeep } from './structural-sharing.js';

const parsed = (value: unknown) => JSON.parse(JSON.stringify(value));
const rows = [
  { id: 'a', n: 1, tags: ['x'] },
  { id: 'b', n: 2, tags: [] },
];

test('an equal result is the same object', () => {
  for (const value of [rows, { page: rows, isDone: true }, [], {}, null, 'text', 0]) {
    expect(replaceEqualDeep(value, parsed(value))).toBe(value);
  }
});

test('documents keep their identity at any index, and changed ones that of their equal parts', () => {
  const after = replaceEqualDeep(rows, [
    { id: 'c', n: 3 },
    parsed(rows[1]),
    { ...parsed(rows[0]), n: 9 },
  ]) as typeof rows;
  expect(after).toEqual([{ id: 'c', n: 3 }, rows[1], { ...rows[0], n: 9 }]);
  expect(after[1]).toBe(rows[1]);
  expect(after[2]).not.toBe(rows[0]);
  expect(after[2]?.tags).toBe(rows[0]?.tags);
});

test('a list that names a document more than once is equal to itself', () => {
  const before = [
    { id: '1', n: 1 },
    { id: '1', n: 2 },
  ];
  expect(replaceEqualDeep(before, structuredClone(before))).toBe(before);
});

test('a page keeps its list, and elements without an id are compared by index', () => {
  const before = { page: rows, isDone: false, points: [[1], [2]] };
  const after = replaceEqualDeep(before, parsed({ ...before, isDone: true, points: [[1], [3]] })) as typeof before;
  expect(after).toEqual({ ...before, isDone: true, points: [[1], [3]] });
  expect(after.page).toBe(rows);
  expect(after.points[0]).toBe(before.points[0]);
});

test.each([
  [[1, 2], [1]],
  [[1], [1, 2]],
  [{ a: 1 }, {}],
  [{}, { a: 1 }],
  [{ a: 1 }, { b: 1 }],
  [{ 0: 1 }, [1]],
  [null, {}],
  [{ a: null }, { a: {} }],
  [
    [{ id: 'a' }, { id: 'b' }],
    [{ id: 'b' }, { id: 'a' }],
  ],
])('%j is not %j', (before, after) => {
  const expected = parsed(after);
  expect(replaceEqualDeep(before, after)).toEqual(expected);
  expect(replaceEqualDeep(before, after)).not.toBe(before);
});

test('a member called __proto__ is handled like any other', () => {
  const before = JSON.parse('{"__proto__":{"a":1},"b":1}');
  expect(replaceEqualDeep(before, JSON.parse('{"__proto__":{"a":1},"b":1}'))).toBe(before);
  const after = replaceEqualDeep(before, JSON.parse('{"__proto__":{"a":2},"b":1}')) as object;
  expect(JSON.stringify(after)).toBe('{"__proto__":{"a":2},"b":1}');
  expect(Object.getPrototypeOf(after)).toBe(Object.prototype);
  expect(replaceEqualDeep({ b: 1 }, JSON.parse('{"__proto__":{},"b":1}'))).not.toEqual({ b: 1 });
});
