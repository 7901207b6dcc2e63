import { expect, test } from 'vitest';
import { withRows } from './list-patch.js';

const a = { n: 1 };
const b = { n: 2 };
const c = { n: 3 };

test('a list is put together from runs of the one held and new elements', () => {
  const list = withRows([a, b, c], { rows: [[1, 2], { row: 'new' }, [0, 1]], rest: undefined }) as unknown[];
  expect(list).toEqual([b, c, 'new', a]);
  expect(list[0]).toBe(b);
  expect(withRows([a], { rows: [], rest: undefined })).toEqual([]);
});

test('so is the page of an object, whose rest comes along', () => {
  const held = { page: [a, b], continueCursor: 'x', isDone: false };
  const page = withRows(held, { rows: [[0, 1], { row: c }], rest: { continueCursor: 'y', isDone: true } });
  expect(page).toEqual({ page: [a, c], continueCursor: 'y', isDone: true });
});

test.each([
  ['a run past the end', [a], [[0, 2]], undefined],
  ['no list', { page: [a] }, [[0, 1]], undefined],
  ['nothing', undefined, [], undefined],
  ['no page', [a], [[0, 1]], {}],
  ['a page that is no list', { page: 'a' }, [], {}],
] as const)('what does not fit what is held makes nothing: %s', (_what, held, rows, rest) => {
  expect(withRows(held, { rows, rest })).toBeNull();
});
