import { expect, it } from 'vitest';
import * as z from 'zod';
import { compileDefaults } from './index.js';

function filled(schema: z.core.$ZodType, document: unknown): unknown {
  compileDefaults(schema)?.(document);
  return document;
}

it('fills constant defaults for missing keys only', () => {
  const schema = z.object({
    likes: z.number().default(7),
    tags: z.array(z.string()).default(() => []),
    body: z.string(),
  });
  expect(filled(schema, { body: 'x' })).toEqual({ body: 'x', likes: 7, tags: [] });
  expect(filled(schema, { body: 'x', likes: 0, tags: null })).toEqual({ body: 'x', likes: 0, tags: null });
});

it('copies the default for each document', () => {
  const fill = compileDefaults(z.object({ tags: z.array(z.string()).default([]) }));
  const [a, b]: { tags?: string[] }[] = [{}, {}];
  fill?.(a);
  fill?.(b);
  a?.tags?.push('x');
  expect(b?.tags).toEqual([]);
});

it('skips defaults that are not constant', () => {
  let calls = 0;
  const schema = z.object({
    ms: z.number().default(() => Date.now()),
    day: z.string().default(() => new Date().toISOString().slice(0, 10)),
    year: z.number().default(() => new Date().getFullYear()),
    counted: z.number().default(() => ++calls),
    random: z.number().default(() => Math.random()),
    fixed: z.string().default(() => new Date(0).toISOString()),
  });
  expect(filled(schema, {})).toEqual({ fixed: '1970-01-01T00:00:00.000Z' });
  expect(calls).toBe(2);
});

it('restores the clock', () => {
  const before = Date;
  compileDefaults(z.object({ at: z.number().default(() => Date.now()) }));
  expect(Date).toBe(before);
  expect(Math.abs(Date.now() - new before().getTime())).toBeLessThan(1000);
});

it('unwraps wrappers, and parses a prefault', () => {
  const schema = z.object({
    a: z.number().default(1).optional(),
    b: z.string().nullable().default(null),
    c: z.string().trim().prefault('  x '),
    d: z.string().optional(),
    e: z.number().catch(9),
  });
  expect(filled(schema, {})).toEqual({ a: 1, b: null, c: 'x' });
});

it('descends into objects, arrays, records, discriminated unions and recursive schemas', () => {
  const item = z.object({ n: z.number().default(1) });
  const schema = z.object({
    inner: z.object({ item }).optional(),
    list: z.array(item),
    map: z.record(z.string(), item),
    event: z.discriminatedUnion('type', [
      z.object({ type: z.literal('a'), x: z.number().default(5) }),
      z.object({ type: z.literal('b') }),
    ]),
  });
  expect(filled(schema, { inner: { item: {} }, list: [{}, { n: 2 }], map: { k: {} }, event: { type: 'a' } })).toEqual({
    inner: { item: { n: 1 } },
    list: [{ n: 1 }, { n: 2 }],
    map: { k: { n: 1 } },
    event: { type: 'a', x: 5 },
  });
  expect(filled(schema, { list: [], map: {}, event: { type: 'b' } })).toEqual({
    list: [],
    map: {},
    event: { type: 'b' },
  });

  const node: z.ZodType = z.object({
    open: z.boolean().default(true),
    children: z.array(z.lazy(() => node)).optional(),
  });
  expect(filled(node, { children: [{ children: [{}] }] })).toEqual({
    open: true,
    children: [{ open: true, children: [{ open: true }] }],
  });
});

it('skips plain unions, and compiles to null where there is no default', () => {
  const union = z.union([z.object({ a: z.number().default(1) }), z.object({ b: z.number() })]);
  expect(compileDefaults(union)).toBeNull();
  expect(compileDefaults(z.object({ a: z.string(), b: z.array(z.object({ c: z.number() })) }))).toBeNull();
});
