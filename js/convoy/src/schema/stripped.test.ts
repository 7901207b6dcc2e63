import { expect, it } from 'vitest';
import * as z from 'zod';
import { strippedKeys } from './stripped.js';

const inner = z.object({ a: z.number().optional() });

it.each<[string, z.ZodType, unknown, string[]]>([
  ['nothing, where all is known', z.object({ a: z.number(), inner }), { a: 1, inner: { a: 1 } }, []],
  ['a key beside those of the schema', z.object({ a: z.number() }), { a: 1, b: 2, c: undefined }, ['b']],
  ['one inside, once', z.object({ list: z.array(inner).optional() }), { list: [{ b: 1 }, { b: 2 }] }, ['list.b']],
  ['one behind a transform', z.object({ a: z.number() }).transform(({ a }) => a), { a: 1, b: 2 }, ['b']],
  ['nothing that is kept', z.looseObject({}), { b: 2 }, []],
  ['nothing that is refused', z.strictObject({}), { b: 2 }, []],
  ['nothing of a record', z.record(z.string(), z.number()), { b: 2 }, []],
  ['nothing of a union', z.union([z.object({ a: z.number() }), z.object({ b: z.number() })]), { b: 2 }, []],
  ['names that mean something elsewhere', z.object({}), { constructor: 1, toString: 2 }, ['constructor', 'toString']],
  ['nothing of what is no object', z.object({}), [{ a: 1 }], []],
])('finds %s', (_what, schema, value, keys) => {
  expect(strippedKeys(schema, value)).toEqual(keys);
});
