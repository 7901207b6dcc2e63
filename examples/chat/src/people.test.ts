import { expect, test } from 'vitest';
import { type Person, peopleHere } from './people';

function seen(name: string, secondsAgo: number, row = '1'): Person {
  return { id: `presence:${name}${row}` as Person['id'], name, seenAt: 1_000_000 - secondsAgo * 1000 };
}

test('people with a recent heartbeat are here, sorted by name', () => {
  const here = peopleHere([seen('Wren', 0), seen('Heron', 29), seen('Ibex', 31)]);
  expect(here.map(({ name }) => name)).toEqual(['Heron', 'Wren']);
});

test('a person with two windows is listed once, with the latest heartbeat', () => {
  const here = peopleHere([seen('Wren', 9, '1'), seen('Wren', 2, '2')]);
  expect(here.map(({ id }) => id)).toEqual(['presence:Wren2']);
});

test('without heartbeats the list is empty', () => {
  expect(peopleHere([])).toEqual([]);
});
