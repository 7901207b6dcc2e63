import { expect, it } from 'vitest';
import * as z from 'zod';
import { strippedKeys } from './stripped.js';

const inner = z.object({ a: z.number().optional() });

it.each<[string, z.ZodType, unknown, string[]]>([
  ['no key where all are defined', z.object({ a: z.number(), inner }), { a: 1, inner: { a: 1 } }, []],
  ['a key that the schema does not define', z.object({ a: z.number() }), { a: 1, b: 2, c: undefined }, ['b']],
  ['a nested key once', z.object({ list: z.array(inner).optional() }), { list: [{ b: 1 }, { b: 2 }] }, ['list.b']],
  ['a key before a transform', z.object({ a: z.number() }).transform(({ a }) => a), { a: 1, b: 2 }, ['b']],
  ['no key of a loose object', z.looseObject({}), { b: 2 }, []],
  ['no key of a strict object, which refuses them', z.strictObject({}), { b: 2 }, []],
  ['no key of a record', z.record(z.string(), z.number()), { b: 2 }, []],
  ['no key of a union', z.union([z.object({ a: z.number() }), z.object({ b: z.number() })]), { b: 2 }, []],
  [
    'keys named like members of Object.prototype',
    z.object({}),
    { constructor: 1, toString: 2 },
    ['constructor', 'toString'],
  ],
  ['no key of a value that is not an object', z.object({}), [{ a: 1 }], []],
])('finds %s', (_what, schema, value, keys) => {
  expect(strippedKeys(schema, value)).toEqual(keys);
});
