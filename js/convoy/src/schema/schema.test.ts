import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { defineRef, defineSchema, defineTable, SchemaError, type TableInput } from './index.js';

/** The problems of an invalid schema, as `path: message` lines. */
function problemsOf(define: () => unknown): string[] {
  try {
    define();
  } catch (error) {
    if (error instanceof SchemaError) return error.problems.map(({ path, message }) => `${path}: ${message}`);
    throw error;
  }
  throw new Error('the schema was accepted');
}

function oneTable(input: unknown): () => unknown {
  return () => defineSchema({ things: defineTable(input as TableInput) });
}

describe('a schema is accepted', () => {
  it.each<[string, TableInput]>([
    ['of every JSON type', { a: z.string(), b: z.number().nullable(), c: z.array(z.tuple([z.boolean(), z.null()])) }],
    ['with records, literals, enums and templates', { r: z.record(z.string(), z.literal([1, 'a'])), e: z.enum(['x']) }],
    [
      'with checks and idempotent changes of text',
      {
        name: z
          .string()
          .trim()
          .toLowerCase()
          .min(1)
          .refine((s) => s !== 'x'),
      },
    ],
    ['with coercion', { n: z.coerce.number() }],
    ['with z.json() and other recursive schemas', { any: z.json(), tree: recursive() }],
    ['with a pipe that only checks', { mail: z.string().pipe(z.email()) }],
    ['of a union of objects', z.union([z.object({ a: z.string() }), z.object({ b: z.number() })])],
    ['of a refined object', z.object({ a: z.number(), b: z.number() }).refine((v) => v.a < v.b)],
  ])('%s', (_, input) => {
    expect(oneTable(input)).not.toThrow();
  });

  it('names each table after its key, unless it has a name', () => {
    const legacy = defineTable({ a: z.string() });
    legacy.name = 'old_things';
    const schema = defineSchema({ things: defineTable({ a: z.string() }), legacy });
    expect(schema.tables.things.name).toBe('things');
    expect(schema.tables.legacy.name).toBe('old_things');
  });
});

describe('defineSchema', () => {
  it.each<[unknown, string]>([
    [undefined, 'undefined'],
    [null, 'null'],
    [5, '5'],
    [[], 'an array'],
    [new Map(), 'an instance of Map'],
    [defineTable({}), 'a table'],
  ])('takes no %s', (given, kind) => {
    expect(() => defineSchema(given as never)).toThrow(
      new TypeError(
        `defineSchema takes an object of tables by name; ${kind} was given. Write defineSchema({ notes: defineTable({ text: z.string() }) }).`,
      ),
    );
  });

  it('takes nothing besides the tables', () => {
    const define = defineSchema as (...given: unknown[]) => unknown;
    expect(() => define({}, undefined)).not.toThrow();
    expect(() => define({}, { schemaValidation: false })).toThrow(
      'defineSchema takes the tables only; it has no options.',
    );
  });

  it.each<[unknown]>([[undefined], [null], [5], [[]], [new Map()], [new Date()], [{ a: 5 }]])(
    'refuses %o as a table, with its name',
    (given) => {
      expect(problemsOf(() => defineSchema({ things: given as never }))).toEqual([
        'things: is not a table; write defineTable({ … })',
      ]);
    },
  );
});

describe('a schema is refused, with the path of the problem', () => {
  it.each<[string, unknown, RegExp]>([
    ['Date', z.date(), /^things\.x: Date is not JSON; store a number/],
    ['bigint', z.bigint(), /^things\.x: bigint is not JSON/],
    ['a bigint literal', z.literal(1n), /^things\.x: bigint is not JSON/],
    ['Map', z.map(z.string(), z.string()), /^things\.x: Map is not JSON/],
    ['Set', z.set(z.string()), /^things\.x: Set is not JSON/],
    ['NaN', z.nan(), /^things\.x: NaN/],
    ['a symbol', z.symbol(), /^things\.x: a symbol/],
    ['a file', z.file(), /^things\.x: a File/],
    ['a promise', z.promise(z.string()), /^things\.x: a Promise/],
    ['a class', z.instanceof(URL), /^things\.x: an instance of URL is not JSON/],
    ['a transform', z.string().transform((s) => s.length), /^things\.x: a transform changes the value/],
    ['preprocess', z.preprocess(String, z.string()), /^things\.x: z\.preprocess\(\)/],
    ['a codec', z.codec(z.string(), z.number(), { decode: Number, encode: String }), /^things\.x: a codec/],
    ['stringbool', z.stringbool(), /^things\.x: a codec/],
    ['a pipe that changes the value', z.string().pipe(z.coerce.number()), /^things\.x: this pipe may change/],
    [
      'a pipe of objects',
      z.object({ a: z.string() }).pipe(z.object({ a: z.string() })),
      /^things\.x: this pipe may change/,
    ],
    ['an async check', z.string().refine(async () => true), /^things\.x: this check is async/],
    ['an overwrite that is not idempotent', z.string().overwrite((s) => `${s}!`), /^things\.x: this \.overwrite\(\)/],
    ['a value that is not a schema', 'string', /^things\.x: is not a Zod schema/],
    ['a Zod 3 schema', { _def: { typeName: 'ZodString' }, parse() {} }, /^things\.x: ZodString is a Zod 3 schema/],
  ])('%s', (_, type, message) => {
    expect(problemsOf(oneTable({ x: type }))).toEqual([expect.stringMatching(message)]);
  });

  it.each<[string, unknown, string]>([
    ['objects', z.object({ in: z.object({ at: z.date() }) }), 'things.in.at'],
    ['optional, nullable, default', { x: z.date().optional().nullable().default(null) }, 'things.x'],
    ['arrays', { list: z.array(z.object({ at: z.date() })) }, 'things.list[].at'],
    ['tuples', { pair: z.tuple([z.string(), z.date()]) }, 'things.pair[1]'],
    ['records', { map: z.record(z.string(), z.date()) }, 'things.map.*'],
    ['catchall', z.object({}).catchall(z.date()), 'things.*'],
    ['unions', { x: z.union([z.string(), z.date()]) }, 'things.x'],
    ['intersections', { x: z.intersection(z.object({ a: z.date() }), z.object({})) }, 'things.x.a'],
    ['lazy', { x: z.lazy(() => z.date()) }, 'things.x'],
    ['unions of tables', z.discriminatedUnion('t', [z.object({ t: z.literal('a'), at: z.date() })]), 'things.at'],
  ])('inside %s', (_, input, path) => {
    expect(problemsOf(oneTable(input))).toEqual([expect.stringMatching(/Date is not JSON/)]);
    expect(problemsOf(oneTable(input))[0]?.startsWith(`${path}: `)).toBe(true);
  });

  it('reserved names', () => {
    const input = { id: z.string(), _creationTime: z.number(), inner: z.object({ id: z.string() }) };
    expect(problemsOf(oneTable(input))).toEqual([
      'things.id: every document has this field already; give yours another name',
      'things._creationTime: every document has this field already; give yours another name',
    ]);
    const table = defineTable({ a: z.string() }).index('by_id', ['a']).index('by_creation_time', ['a']);
    expect(problemsOf(() => defineSchema({ things: table }))).toEqual([
      expect.stringMatching(/^things\.by_id: every table has this index already/),
      expect.stringMatching(/^things\.by_creation_time: every table has this index already/),
    ]);
  });

  it('indexes on fields that do not exist, are repeated, or are too deep', () => {
    const deep = z.object({ b: z.object({ c: z.object({ d: z.string() }) }) });
    const table = defineTable({ a: deep, 'x.y': z.string() })
      // @ts-expect-error also a type error
      .index('by_city', ['city'])
      // @ts-expect-error also a type error
      .index('by_depth', ['a.b.c.d'])
      .index('by_object', ['a.b.c'])
      .index('by_dot', ['x.y'])
      .index('by_twice', ['a', 'a'])
      .index('by_none', []);
    expect(problemsOf(() => defineSchema({ things: table }))).toEqual([
      "things.by_city: there is no field 'city'; the fields are a, x.y",
      "things.by_depth: 'a.b.c.d' is nested too deeply; an index reaches 3 names deep",
      "things.by_dot: 'x.y' has a dot in its name and cannot be indexed",
      'things.by_twice: names a field twice',
      'things.by_none: an index names at least one field',
    ]);
  });

  it('a reference to a table that does not exist', () => {
    expect(problemsOf(oneTable({ owner: z.array(defineRef('users')).optional() }))).toEqual([
      "things.owner[]: defineRef('users') names no table of this schema",
    ]);
  });

  it('documents that are not objects', () => {
    expect(problemsOf(oneTable(z.object({}).optional()))).toEqual([
      expect.stringMatching(/^things: a document is an object/),
    ]);
    expect(problemsOf(oneTable(z.union([z.object({}), z.string()])))).toEqual([expect.stringMatching(/^things: /)]);
  });

  it('names that are invalid in Postgres or in an id, and two tables of the same name', () => {
    expect(problemsOf(() => defineSchema({ 'a:b': defineTable({}) }))).toEqual([
      expect.stringMatching(/^a:b: a table name/),
    ]);
    expect(problemsOf(() => defineSchema({ ['t'.repeat(64)]: defineTable({}) }))).toEqual([
      expect.stringMatching(/1 to 63 bytes/),
    ]);
    expect(() => defineSchema({ ['t'.repeat(63)]: defineTable({}) })).not.toThrow();
    const other = defineTable({});
    other.name = 'one';
    expect(problemsOf(() => defineSchema({ one: defineTable({}), other }))).toEqual([
      'other: and one are the same table "one"; keep one of them',
    ]);
  });

  it('names that Postgres would truncate, or take for those of its own tables', () => {
    const other = (name: string) => Object.assign(defineTable({}), { name });
    expect(
      problemsOf(() =>
        defineSchema({
          ['t'.repeat(64)]: other('short'),
          pg_class: defineTable({}),
          proc: other('pg_proc'),
          nul: other('a\u0000'),
          half: other('a\ud800'),
          things: defineTable({ x: z.string() }).index('i'.repeat(64), ['x']).index('i'.repeat(63), ['x']),
        }),
      ),
    ).toEqual([
      `${'t'.repeat(64)}: a table name has at most 63 characters`,
      expect.stringMatching(/^pg_class: the table's name in Postgres begins with pg_/),
      expect.stringMatching(/^proc: the table's name in Postgres begins with pg_/),
      expect.stringMatching(/^nul: .* the character \\u0000/),
      expect.stringMatching(/^half: .* an unpaired surrogate/),
      `things.${'i'.repeat(64)}: an index name has at most 63 characters`,
    ]);
  });

  it('names of fields that no document can have, or no index', () => {
    const shape = (name: string) => Object.fromEntries([[name, z.string()]]);
    expect(problemsOf(oneTable(shape('__proto__')))).toEqual([expect.stringMatching(/^things\.__proto__: .*rename/)]);
    expect(problemsOf(oneTable({ inner: z.object(shape('a\u0000')) }))).toEqual([
      'things.inner.a\u0000: its name contains the character \\u0000, which Postgres cannot store; rename the field',
    ]);
    expect(problemsOf(oneTable(shape('\udc00')))).toEqual([expect.stringMatching(/unpaired surrogate/)]);
    expect(problemsOf(() => defineSchema({ things: defineTable(shape('')).index('by_x', ['' as never]) }))).toEqual([
      "things.by_x: '' has an empty name in it and cannot be indexed",
    ]);
  });

  it('with a message that can be printed', () => {
    const define = () => defineSchema({ 'a\n\u001b[31m\u202e\ud800': defineTable({}) });
    expect(define).toThrow('  - a\\u{a}\\u{1b}[31m\\u{202e}\\u{d800}: a table name has');
    expect(() => defineSchema({ '': defineTable({}) })).toThrow('(a table without a name): a table name has');
  });

  it('with all problems at once', () => {
    expect(problemsOf(oneTable({ a: z.date(), b: z.set(z.string()), id: z.string() }))).toHaveLength(3);
  });
});

function recursive(): z.ZodType {
  const node = z.object({
    name: z.string(),
    get children() {
      return z.array(node);
    },
  });
  return node;
}

describe('a table without indexes', () => {
  it('may be given as its shape, or as an object schema', () => {
    const { tables } = defineSchema({
      plain: { body: z.string() },
      object: z.object({ n: z.number() }),
      table: defineTable({ plainId: defineRef('plain') }),
    });
    expect(Object.values(tables).map(({ name }) => name)).toEqual(['plain', 'object', 'table']);
    expect(tables.plain.isValid({ body: 'x' })).toBe(true);
    expect(tables.plain.isValid({ body: 1 })).toBe(false);
    expect(tables.object.isValid({ n: 1 })).toBe(true);
  });

  it('is checked like any other', () => {
    expect(problemsOf(() => defineSchema({ plain: { id: z.string() }, date: { at: z.date() } }))).toHaveLength(2);
    for (const wrong of [null, 'text', [], { body: 'string' }, { nested: { body: z.string() } }]) {
      expect(problemsOf(() => defineSchema({ wrong: wrong as never }))).toEqual([
        'wrong: is not a table; write defineTable({ … })',
      ]);
    }
  });
});
