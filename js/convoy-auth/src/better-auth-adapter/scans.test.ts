import { describe, expect, it } from 'vitest';
import type { IndexLayout, TableLayout } from './layout.js';
import { chosenIndex, MAX_QUERIES, scansOf, textAfter } from './scans.js';
import type { Clause, Operator } from './where.js';

const index = (fields: string[], unique = false): IndexLayout => ({ name: `by_${fields.join('_')}`, fields, unique });

const table: TableLayout = {
  table: 'account',
  fields: [],
  tokenField: null,
  indexes: [index(['userId']), index(['email'], true), index(['providerId', 'accountId'], true), index(['expiresAt'])],
};

const clause = (field: string, operator: Operator = 'eq', value: string | number | null = 'x'): Clause => ({
  field,
  operator,
  values: [value],
  ignoresCase: false,
});

function chosen(...clauses: Clause[]) {
  const found = chosenIndex(table, clauses);
  return (
    found && [found.index.name, found.equal.map(({ field }) => field), found.bounds.map(({ operator }) => operator)]
  );
}

describe('the chosen index', () => {
  it('is the one with the most equalities', () => {
    expect(chosen(clause('userId'))).toEqual(['by_userId', ['userId'], []]);
    expect(chosen(clause('accountId'), clause('providerId'))).toEqual([
      'by_providerId_accountId',
      ['providerId', 'accountId'],
      [],
    ]);
    expect(chosen(clause('providerId'))).toEqual(['by_providerId_accountId', ['providerId'], []]);
  });

  it('is a unique one, or that of the id, before others', () => {
    expect(chosen(clause('userId'), clause('email'))).toEqual(['by_email', ['email'], []]);
    expect(chosen(clause('email'), clause('id'))).toEqual(['by_id', ['id'], []]);
  });

  it('may have bounds', () => {
    expect(chosen(clause('expiresAt', 'lt', 5), clause('expiresAt', 'gte', 1))).toEqual([
      'by_expiresAt',
      [],
      ['gte', 'lt'],
    ]);
    expect(chosen(clause('userId'), clause('expiresAt', 'gt', 5))).toEqual(['by_userId', ['userId'], []]);
    expect(chosen(clause('expiresAt', 'lt', null))).toBeNull();
  });

  it('is none where no clause fits one', () => {
    expect(chosen()).toBeNull();
    expect(chosen(clause('name'), clause('accountId'), clause('userId', 'ne'))).toBeNull();
  });
});

it('looks up as many values of an `in` as the limit in the index, and filters by more', () => {
  const steps: string[] = [];
  const query = {
    withIndex: (name: string) => steps.push(name) && query,
    filter: () => steps.push('filter') && query,
  };
  const stepsOf = (count: number) => {
    steps.length = 0;
    const values = Array.from({ length: count }, (_, n) => `user ${n}`);
    const where = { all: [{ ...clause('userId', 'in'), values }], any: [] };
    return [scansOf({ query: () => query } as never, table, where).length, new Set(steps)];
  };
  expect(stepsOf(MAX_QUERIES)).toEqual([MAX_QUERIES, new Set(['by_userId'])]);
  expect(stepsOf(MAX_QUERIES + 1)).toEqual([1, new Set(['filter'])]);
});

it.each([
  ['abc', 'abd'],
  ['a\u{10ffff}', 'b'],
  ['\ud7ff', '\ue000'],
  ['\u{10ffff}', null],
  ['', null],
])('the first text after those that start with %j is %j', (prefix, end) => {
  expect(textAfter(prefix)).toBe(end);
});
