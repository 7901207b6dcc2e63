import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { uuid } from '../../testing/scripted-engine.js';
import { defineRef, defineSchema, defineTable } from '../schema/index.js';
import { caller } from './call.test-kit.js';
import type { Filter } from './operations.js';

const schema = defineSchema({
  tasks: defineTable({
    ownerId: defineRef('people'),
    title: z.string(),
    weight: z.number().nullable(),
    done: z.boolean().optional(),
    address: z.object({ city: z.string(), geo: z.object({ lat: z.number() }) }).optional(),
    tags: z.array(z.string()),
  }),
  people: defineTable({ name: z.string() }),
});
const run = caller(schema);
const TASK = `tasks:${uuid(1)}`;

// biome-ignore lint/suspicious/noExplicitAny: the conditions are wrong on purpose, in ways that do not compile.
type Loose = any;

/** The filter sent for conditions. */
async function filter(...conditions: ((q: Loose) => unknown)[]): Promise<{ filter: Filter; error: unknown }> {
  const { ops, error } = await run(
    (db) => {
      let q = db.query('tasks');
      for (const condition of conditions) q = q.filter(condition as never);
      return q.collect();
    },
    { kind: 'query', script: () => ({ ok: [] }) },
  );
  return { filter: (ops[0] as { filter: Filter } | undefined)?.filter as Filter, error };
}

describe('a condition', () => {
  it.each<[string, (q: Loose) => unknown, Filter]>([
    ['equal', (q) => q.eq(q.field('title'), 'x'), { is: 'eq', field: 'title', value: 'x' }],
    ['not equal', (q) => q.neq(q.field('done'), true), { is: 'not', of: { is: 'eq', field: 'done', value: true } }],
    ['equal to null', (q) => q.eq(q.field('weight'), null), { is: 'eq', field: 'weight', value: null }],
    ['greater', (q) => q.gt(q.field('weight'), 1), { is: 'gt', field: 'weight', value: 1 }],
    ['at least', (q) => q.gte(q.field('_creationTime'), 5), { is: 'gte', field: '_creationTime', value: 5 }],
    ['less', (q) => q.lt(q.field('address.city'), 'm'), { is: 'lt', field: 'address.city', value: 'm' }],
    ['at most', (q) => q.lte(q.field('address.geo.lat'), 3), { is: 'lte', field: 'address.geo.lat', value: 3 }],
    ['one of several', (q) => q.in(q.field('title'), ['a', null]), { is: 'in', field: 'title', values: ['a', null] }],
    ['one of an empty list', (q) => q.in(q.field('title'), []), { is: 'in', field: 'title', values: [] }],
    ['equal to a list', (q) => q.eq(q.field('tags'), ['a']), { is: 'eq', field: 'tags', value: ['a'] }],
    ['an id', (q) => q.eq(q.field('id'), TASK), { is: 'eq', field: 'id', value: TASK }],
    ['a bare uuid', (q) => q.in(q.field('id'), [uuid(1).toUpperCase()]), { is: 'in', field: 'id', values: [TASK] }],
    ['an empty conjunction', (q) => q.and(), { is: 'and', of: [] }],
    [
      'several',
      (q) => q.or(q.eq(q.field('title'), 'x'), q.and(q.not(q.eq(q.field('done'), true)))),
      {
        is: 'or',
        of: [
          { is: 'eq', field: 'title', value: 'x' },
          { is: 'and', of: [{ is: 'not', of: { is: 'eq', field: 'done', value: true } }] },
        ],
      },
    ],
  ])('%s', async (_, condition, expected) => {
    const { filter: sent, error } = await filter(condition);
    expect(error).toBeUndefined();
    expect(sent).toEqual(expected);
  });

  it('is combined with earlier ones by `and`', async () => {
    const title = (value: string) => (q: Loose) => q.eq(q.field('title'), value);
    expect((await filter(title('a'), title('b'), title('c'))).filter).toEqual({
      is: 'and',
      of: ['a', 'b', 'c'].map((value) => ({ is: 'eq', field: 'title', value })),
    });
  });

  it.each<[string, (q: Loose) => unknown, RegExp]>([
    [
      'a JavaScript comparison',
      (q) => q.field('title') === 'x',
      /must return a condition made with q, not false.*write \(q\) => q\.eq\(q\.field\('ownerId'\), value\)/,
    ],
    ['undefined as the result', (q) => void q.eq(q.field('title'), 'x'), /not undefined/],
    ['a promise', async (q) => q.eq(q.field('title'), 'x'), /not an object/],
    ['a field', (q) => q.field('done'), /not an object/],
    ['an object shaped like a condition', () => ({ filter: { is: 'and', of: [] } }), /not an object/],
    [
      'a condition on a field name',
      (q) => q.eq('title', 'x'),
      /takes a field first and then a value: q\.eq\(q\.field\('title'\), …\)/,
    ],
    ['a condition on a long string', (q) => q.eq('x'.repeat(1_000), 1), /q\.field\("x{79}…\), …\)/],
    ['the value first', (q) => q.eq('x', q.field('title')), /takes a field first/],
    ['two fields', (q) => q.lt(q.field('title'), q.field('address.city')), /compares two fields/],
    ['an unknown field', (q) => q.eq(q.field('nope'), 1), /tasks has no field 'nope'; its fields are ownerId, title/],
    ['constructor', (q) => q.eq(q.field('constructor'), 1), /no field 'constructor'/],
    ['__proto__', (q) => q.eq(q.field('__proto__'), 1), /no field '__proto__'/],
    ['toString of an object', (q) => q.eq(q.field('address.toString'), 1), /no field 'address.toString'/],
    ['an array index', (q) => q.eq(q.field('tags.0'), 'x'), /no field 'tags.0'/],
    [
      'a field that is too deep',
      (q) => q.eq(q.field('address.geo.lat.x'), 1),
      /'address.geo.lat.x' is nested too deeply/,
    ],
    ['a field that is far too deep', (q) => q.eq(q.field('.'.repeat(1_000)), 1), /: "\.{79}… is nested too deeply/],
    [
      'a symbol as a field name',
      (q) => q.eq(q.field(Symbol('x')), 1),
      /takes the name of a field of tasks, not Symbol\(x\)/,
    ],
    ['undefined', (q) => q.eq(q.field('title'), undefined), /q\.eq\(q\.field\('title'\), …\): the value is undefined/],
    ['a value that JSON cannot represent', (q) => q.eq(q.field('tags'), ['a', 1n]), /`\[1\]` of the value is a bigint/],
    ['NaN', (q) => q.gt(q.field('weight'), Number.NaN), /is NaN/],
    ['greater than null', (q) => q.gt(q.field('weight'), null), /q\.gt\(\) cannot compare with null/],
    ['less than a list', (q) => q.lt(q.field('tags'), ['a']), /q\.lt\(\) cannot compare with an array/],
    ['one of a string', (q) => q.in(q.field('title'), 'x'), /takes an array of values, not a string/],
    ['one of a list with holes', (q) => q.in(q.field('title'), new Array(1)), /is undefined/],
    [
      'an id of another table',
      (q) => q.eq(q.field('id'), `people:${uuid(1)}`),
      /is an id of people; an id of tasks is needed/,
    ],
    ['a value that is not an id', (q) => q.neq(q.field('id'), 'x'), /is not an id; an id of tasks/],
    ['a list of conditions', (q) => q.and([q.and()]), /q\.and\(\) takes conditions made with q, not an array/],
    ['not true', (q) => q.not(true), /takes conditions made with q, not true/],
    [
      'too many levels',
      (q) => Array.from({ length: 70 }).reduce((inner) => q.not(inner), q.and()),
      /nested deeper than 64/,
    ],
  ])('of %s is rejected', async (_, condition, message) => {
    const { error, filter: sent } = await filter(condition);
    expect(error).toMatchObject({ code: 'INVALID_ARGS', message: expect.stringMatching(message) });
    expect(sent).toBeUndefined();
  });

  it('of another query, or a value that is no callback, is rejected', async () => {
    let kept: Loose;
    const { error } = await run(
      async (db) => {
        db.query('people').filter((q) => {
          kept = q;
          return q.and();
        });
        await db
          .query('tasks')
          .filter(() => kept.eq(kept.field('name'), 'x'))
          .collect();
      },
      { kind: 'query' },
    );
    expect(error).toMatchObject({ code: 'INVALID_ARGS' });
    const none = await run(
      (db) =>
        db
          .query('tasks')
          .filter('done' as never)
          .collect(),
      { kind: 'query' },
    );
    expect(none.error).toMatchObject({ message: expect.stringMatching(/filter\(\) takes a callback/) });
  });
});
