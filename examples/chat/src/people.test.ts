import { expect, test } from 'vitest';
import { type Person, peopleHere } from './people';

function seen(name: string, secondsAgo: number, row = '1'): Person {
  return { id: `presence:${name}${row}` as Person['id'], name, seenAt: 1_000_000 - secondsAgo * 1000 };
}

test('those heard of lately are here, by name', () => {
  const here = peopleHere([seen('Wren', 0), seen('Heron', 29), seen('Ibex', 31)]);
  expect(here.map(({ name }) => name)).toEqual(['Heron', 'Wren']);
});

test('someone with two windows is one person, where they were seen last', () => {
  const here = peopleHere([seen('Wren', 9, '1'), seen('Wren', 2, '2')]);
  expect(here.map(({ id }) => id)).toEqual(['presence:Wren2']);
});

test('nobody is here where nobody was seen', () => {
  expect(peopleHere([])).toEqual([]);
});
