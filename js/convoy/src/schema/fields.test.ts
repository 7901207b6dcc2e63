import { expect, it } from 'vitest';
import * as z from 'zod';
import { fieldKind, MAX_UNION_DEPTH } from './fields.js';
import { defineSchema, defineTable } from './index.js';

/** `schema` in so many unions with `other`, one in the other. */
function within(depth: number, schema: z.ZodType, other: z.ZodType): z.ZodType {
  return depth === 0 ? schema : z.union([within(depth - 1, schema, other), other]);
}

it('a field is found in as many unions as the limit, and in no more', () => {
  const [document, other] = [z.object({ a: z.string() }), z.object({ b: z.string() })];
  const define = (depth: number) => () => {
    const table = defineTable(within(depth, document, other) as typeof document);
    return defineSchema({ things: table.index('by_a', ['a']) });
  };
  expect(define(MAX_UNION_DEPTH)).not.toThrow();
  expect(define(MAX_UNION_DEPTH + 1)).toThrow("things.by_a: there is no field 'a'; the fields are b");
});

it('the kind of a value is that in as many unions as the limit, and JSON in more', () => {
  const kindIn = (depth: number) => fieldKind(z.object({ a: within(depth, z.string(), z.null()) }), 'a');
  expect([kindIn(MAX_UNION_DEPTH), kindIn(MAX_UNION_DEPTH + 1)]).toEqual(['text', 'json']);
});
