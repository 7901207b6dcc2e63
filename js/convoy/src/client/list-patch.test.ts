import { expect, test } from 'vitest';
import { applyPatch } from './list-patch.js';

const a = { n: 1 };
const b = { n: 2 };
const c = { n: 3 };

test('a list is built from runs of the cached list and new elements', () => {
  const list = applyPatch([a, b, c], { rows: [[1, 2], { row: 'new' }, [0, 1]], rest: undefined }) as unknown[];
  expect(list).toEqual([b, c, 'new', a]);
  expect(list[0]).toBe(b);
  expect(applyPatch([a], { rows: [], rest: undefined })).toEqual([]);
});

test('the page of an object is patched the same way, and its other members replaced', () => {
  const cached = { page: [a, b], continueCursor: 'x', isDone: false };
  const page = applyPatch(cached, { rows: [[0, 1], { row: c }], rest: { continueCursor: 'y', isDone: true } });
  expect(page).toEqual({ page: [a, c], continueCursor: 'y', isDone: true });
});

test.each([
  ['a run past the end', [a], [[0, 2]], undefined],
  ['no list', { page: [a] }, [[0, 1]], undefined],
  ['no result', undefined, [], undefined],
  ['no page', [a], [[0, 1]], {}],
  ['a page that is no list', { page: 'a' }, [], {}],
] as const)('a patch that does not match the cached result is rejected: %s', (_what, cached, rows, rest) => {
  expect(applyPatch(cached, { rows, rest })).toBeNull();
});
