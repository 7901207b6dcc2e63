import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { defineRef, defineSchema, defineTable, describeSchema } from './index.js';

const UUID = '01890c5e-9d2b-7cc3-8f11-aa0b6f5c2d10';

describe('defineTable', () => {
  it('validates documents and reports the failing field', () => {
    const { things } = defineSchema({ things: defineTable({ name: z.string(), likes: z.number().default(0) }) }).tables;
    expect(things.validate({ name: 'a', extra: 1 })).toEqual({ name: 'a', likes: 0 });
    expect(things.isValid({ name: 'a' })).toBe(true);
    expect(things.isValid({ name: 1 })).toBe(false);
    expect(() => things.validate({ name: 1 })).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGS',
        message: expect.stringContaining('things at name'),
        details: { table: 'things', issues: [{ path: ['name'], message: expect.any(String) }] },
      }),
    );
  });

  it('records its indexes and refuses a second one of the same name', () => {
    const table = defineTable({ a: z.string(), b: z.number() })
      .index('by_a', ['a', 'b'], { unique: true })
      .index('by_b', ['b']);
    expect({ ...table.indexes }).toEqual({ by_a: ['a', 'b'], by_b: ['b'] });
    expect([table.isUnique('by_a'), table.isUnique('by_b')]).toEqual([true, false]);
    expect(() => table.index('by_a', ['b'])).toThrow(/index of this name already/);
  });

  it.each<[string, unknown, string]>([
    ['undefined', undefined, 'undefined was given (a module that is imported in a cycle may not have set it yet).'],
    ['null', null, 'null was given.'],
    ['a number', 5, '5 was given.'],
    ['a text', 'text', '"text" was given.'],
    ['a list', [z.string()], 'an array was given.'],
    ['a map', new Map(), 'an instance of Map was given.'],
    ['a table', defineTable({}), 'a table was given.'],
  ])('takes no document that is %s', (_, given, message) => {
    expect(() => defineTable(given as never)).toThrow(
      new TypeError(`defineTable takes an object of Zod schemas, z.object(…) or a union of objects; ${message}`),
    );
  });

  it('takes an object without a prototype, and nothing besides', () => {
    const shape = Object.assign(Object.create(null), { a: z.string() });
    expect(defineTable(shape).isValid({ a: 'x' })).toBe(true);
    const define = defineTable as (...given: unknown[]) => unknown;
    expect(() => define({ a: z.string() }, undefined)).not.toThrow();
    expect(() => define({ a: z.string() }, { indexes: {} })).toThrow(
      "defineTable takes the documents only. Indexes follow it: defineTable({ … }).index('by_field', ['field']).",
    );
  });

  it.each<[string, unknown[], string]>([
    ['no fields', ['x'], 'index("x", undefined): an index has a name and a list of fields;'],
    ['one field', ['x', 'a'], 'index("x", "a"): an index has a name and a list of fields;'],
    [
      'a field that is no name',
      ['x', [1]],
      'index("x", [1]): an index has a name and a list of fields; write index(\'by',
    ],
    ['no name', [['a']], 'index(["a"], undefined): an index has a name and'],
    ['a misspelt option', ['x', ['a'], { uniqe: true }], 'index("x", …) has no option "uniqe". Did you mean unique?'],
    [
      'an option as a text',
      ['x', ['a'], { unique: 'true' }],
      'index("x", …): `unique` is true or false; "true" was given.',
    ],
    ['true as options', ['x', ['a'], true], 'index("x", …) takes an object of options, not true.'],
    ['null as options', ['x', ['a'], null], 'index("x", …) takes an object of options, not null.'],
  ])('takes no index with %s', (_, given, message) => {
    const table = defineTable({ a: z.string() });
    const index = table.index.bind(table) as (...given: unknown[]) => unknown;
    expect(() => index(...given)).toThrow(message);
    expect(() => index('y', ['a'], undefined)).not.toThrow();
    expect(() => index('y', ['a'], { unique: undefined })).not.toThrow();
  });

  it('never changes a table, so that several can begin with the same one', () => {
    const base = defineTable({ a: z.string(), b: z.number() }).index('by_a', ['a'], { unique: true });
    const [first, second] = [base.index('by_b', ['b'], { unique: true }), base.index('by_b', ['b', 'a'])];
    const unmanaged = second.unmanaged();
    expect([base, first, second, unmanaged].map(({ indexes }) => ({ ...indexes }))).toEqual([
      { by_a: ['a'] },
      { by_a: ['a'], by_b: ['b'] },
      { by_a: ['a'], by_b: ['b', 'a'] },
      { by_a: ['a'], by_b: ['b', 'a'] },
    ]);
    expect([base, first, second, unmanaged].map((table) => table.isUnique('by_b'))).toEqual([
      false,
      true,
      false,
      false,
    ]);
    expect([base, first, second, unmanaged].map((table) => table.isUnique('by_a'))).toEqual([true, true, true, true]);
    expect([base, first, second, unmanaged].map(({ managed }) => managed)).toEqual([true, true, true, false]);
    const { tables } = defineSchema({ first, second, unmanaged });
    expect([tables.first.name, tables.second.name, base.name]).toEqual(['first', 'second', undefined]);
  });

  it('is refused before an index or `unmanaged()` that are in no table of the schema', () => {
    const statement = defineTable({ a: z.string() });
    statement.unmanaged();
    expect(() => defineSchema({ statement })).toThrow(
      'statement: has another index or access rules, or is unmanaged, only in',
    );
    const chained = defineTable({ a: z.string() });
    chained.index('by_a', ['a']).unmanaged();
    expect(() => defineSchema({ chained })).toThrow(
      'index(…), access(…) and unmanaged() return a new table; use that one',
    );
    const base = defineTable({ a: z.string() });
    const last = base.index('by_a', ['a']).unmanaged();
    expect(Object.keys(defineSchema({ base, last }).tables)).toEqual(['base', 'last']);
    expect(Object.keys(defineSchema({ last }).tables)).toEqual(['last']);
  });

  it('keeps the name in Postgres that was set', () => {
    const table = defineTable({ a: z.string() });
    table.name = 'legacy';
    expect(defineSchema({ current: table.index('by_a', ['a']).unmanaged() }).tables.current.name).toBe('legacy');
  });
});

describe('defineRef', () => {
  it('accepts ids of its table only', () => {
    const ref = defineRef('channels');
    expect(ref.parse(`channels:${UUID}`)).toBe(`channels:${UUID}`);
    for (const other of [`messages:${UUID}`, `xchannels:${UUID}`, UUID, 'channels:', `channels:${UUID}\n`, 1, null]) {
      const result = ref.safeParse(other);
      expect(result.success).toBe(false);
      expect(result.error?.issues[0]?.message).toBe('Invalid id: expected the id of a document in "channels"');
    }
  });

  it('refuses an invalid table name', () => {
    expect(() => defineRef('a.*')).toThrow(TypeError);
  });
});

describe('describeSchema', () => {
  it('describes names, indexes and the kinds of their fields', () => {
    const city = z.object({ name: z.string().nullable(), zip: z.union([z.string(), z.number()]) });
    const messages = defineTable({
      channelId: defineRef('channels'),
      kind: z.enum(['a', 'b']).default('a'),
      level: z.literal([1, 2]),
      pinned: z.boolean().optional(),
      at: z.iso.datetime().readonly(),
      tags: z.array(z.string()),
      city: city.optional(),
    })
      .index('by_channel', ['channelId', '_creationTime', 'id'], { unique: true })
      .index('by_text', ['kind', 'at', 'city.name'])
      .index('by_value', ['level', 'pinned'])
      .index('by_rest', ['city.zip', 'tags', 'city']);
    messages.name = 'msgs';
    const events = defineTable(
      z.union([
        z.object({ at: z.number() }),
        z.object({ at: z.number(), x: z.string() }),
        z.object({ x: z.boolean() }),
      ]),
    )
      .index('by_at', ['at', 'x'])
      .unmanaged();

    expect(describeSchema(defineSchema({ channels: defineTable({}), messages, events }))).toEqual({
      tables: [
        { name: 'channels', physicalName: 'channels', managed: true, indexes: [] },
        {
          name: 'messages',
          physicalName: 'msgs',
          managed: true,
          indexes: [
            index('by_channel', true, { channelId: 'text', _creationTime: 'number', id: 'text' }),
            index('by_text', false, { kind: 'text', at: 'text', 'city.name': 'text' }),
            index('by_value', false, { level: 'number', pinned: 'boolean' }),
            index('by_rest', false, { 'city.zip': 'json', tags: 'json', city: 'json' }),
          ],
        },
        {
          name: 'events',
          physicalName: 'events',
          managed: false,
          indexes: [index('by_at', false, { at: 'number', x: 'json' })],
        },
      ],
    });
  });
});

function index(name: string, unique: boolean, fields: Record<string, string>): unknown {
  return { name, unique, fields: Object.entries(fields).map(([path, kind]) => ({ path, kind })) };
}
