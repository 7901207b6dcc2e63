import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { describeSchema } from './describe.js';
import { defineSchema } from './schema.js';
import { defineTable } from './table.js';

const table = () => defineTable({ owner: z.string() });
const rules = { read: () => true, insert: true } as const;

describe('access()', () => {
  it('returns a table with the rules, in any order with index() and unmanaged()', () => {
    const plain = table();
    const ruled = plain.access(rules);
    expect(plain.rules).toBeNull();
    for (const each of [
      ruled,
      ruled.index('by_owner', ['owner']),
      ruled.unmanaged(),
      table().unmanaged().access(rules),
    ]) {
      expect(each.rules).toEqual(rules);
    }
    expect(table().unmanaged().access(rules).managed).toBe(false);
    expect(table().index('by_owner', ['owner'], { unique: true }).access(rules).isUnique('by_owner')).toBe(true);
  });

  it('keeps its own copy of the rules', () => {
    const given: { read: true; delete?: true } = { read: true };
    const ruled = table().access(given);
    given.delete = true;
    expect(ruled.rules).toEqual({ read: true });
    expect(Object.isFrozen(ruled.rules)).toBe(true);
  });

  it('refuses what is no rule, and a second call', () => {
    const access = (given: unknown) => () => table().access(given as never);
    expect(access(undefined)).toThrow('access() takes an object of rules');
    expect(access({ write: () => true })).toThrow(
      'access(): there is no rule "write"; the rules are read, range, insert, update, delete.',
    );
    for (const rule of [false, null, 'all', {}]) {
      expect(access({ read: rule })).toThrow('access({ read }) takes a function, or true to allow all.');
    }
    expect(access({ read: () => true, range: true })).toThrow('access({ range }) takes a function');
    expect(() => table().access(rules).access(rules)).toThrow('access(): the table has access rules already.');
  });

  it('is refused where another table with rules was made of the one in the schema', () => {
    const notes = table();
    notes.access(rules);
    expect(() => defineSchema({ notes })).toThrow('notes: has another index or access rules');
  });

  it('leaves the description for the engine as it is', () => {
    const described = (notes: ReturnType<typeof table>) => describeSchema(defineSchema({ notes }));
    expect(described(table().access(rules))).toEqual(described(table()));
  });
});
