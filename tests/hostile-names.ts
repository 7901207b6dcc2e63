/** Hostile names, and every argument of `ctx.db` that takes one. */
import { type ConvoyContext, defineRef, defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({
  notes: defineTable({
    text: z.string(),
    n: z.number().default(0),
    place: z.object({ city: z.string() }).optional(),
    'a.b': z.string().optional(),
    owner: defineRef('people').optional(),
  })
    .index('by_text', ['text', 'n'])
    .index('by_n', ['n']),
  people: defineTable({ name: z.string() }).index('by_name', ['name']),
});

type Db = ConvoyContext['db'];
export const UUID = '01890c5e-9d2b-7cc3-8f11-aa0b6f5c2d10';

/** Values that become the name of a table when converted to text. */
const STRINGIFIED = [['notes'], Object('notes')];
export const HOSTILE: unknown[] = [
  ...['constructor', '__proto__', 'prototype', 'toString', 'hasOwnProperty', 'valueOf', 'then', 'length', '0'],
  ...["'; drop table notes; --", '"; drop table notes; --', "notes'", 'notes"', '\\', '$1', '%', '*', 'notes;', '/*'],
  ...['', ' ', ' notes', 'Notes', 'NOTES', 'notes\u0000', '\u0000', '\ud800', '😀', '\n', 'null', 'undefined'],
  ...['.', '..', 'a.b', 'text.', '.text', 'place', 'place.', 'place.town', 'a.b.c.d', 'place.city.x.y', 'notes.text'],
  ...['pg_class', 'pg_catalog.pg_class', '_convoy.changes', 'data', 'created_at', 'information_schema.tables'],
  ...['x'.repeat(64), 'x'.repeat(100_000), '.'.repeat(100_000)],
  ...[null, undefined, 5, Number.NaN, true, {}, [], { name: 'notes' }, () => 'notes', Symbol('notes'), 1n],
  ...STRINGIFIED,
];

/** Every argument that takes a name, with the hostile ones that are valid there. */
export const ARGUMENTS: [argument: string, call: (db: Db, name: never) => unknown, valid?: unknown[]][] = [
  ['query', (db, name) => db.query(name).first()],
  ['insert', (db, name) => db.insert(name, { text: 'never' })],
  ['insertMany', (db, name) => db.insertMany(name, [{ text: 'never' }])],
  ['insertMany of none', (db, name) => db.insertMany(name, [])],
  ['get by table', (db, name) => db.get(name, UUID as never)],
  ['get by id', (db, name) => db.get(name)],
  ['get by an id of a table', (db, name) => db.get(`${String(name)}:${UUID}` as never), STRINGIFIED],
  ['get in a table', (db, name) => db.get('notes', name)],
  ['getMany', (db, name) => db.getMany([name])],
  ['patch', (db, name) => db.patch(name, {})],
  ['patch in a table', (db, name) => db.patch('notes', name, {})],
  ['patch by table', (db, name) => db.patch(name, UUID as never, {})],
  ['replace', (db, name) => db.replace(name, { text: 'never' })],
  ['replace by table', (db, name) => db.replace(name, UUID as never, { text: 'never' })],
  ['delete', (db, name) => db.delete(name)],
  ['delete by table', (db, name) => db.delete(name, UUID as never)],
  ['deleteMany', (db, name) => db.deleteMany(name, [])],
  ['deleteMany of ids', (db, name) => db.deleteMany('notes', [name])],
  ['increment by table', (db, name) => db.increment(name, UUID as never, 'n' as never, 1)],
  ['increment of an id', (db, name) => db.increment(name, 'n' as never, 1)],
  ['increment of a field', (db, name) => db.increment(`notes:${UUID}` as never, name, 1)],
  ['an index', (db, name) => db.query('notes').withIndex(name).first()],
  [
    'a field of an index',
    (db, name) =>
      db
        .query('notes')
        .withIndex('by_text', (q) => q.eq(name as string, 'x'))
        .first(),
  ],
  [
    'a bound of an index',
    (db, name) =>
      db
        .query('notes')
        .withIndex('by_n', (q) => q.gt(name as string, 1))
        .first(),
  ],
  [
    'a field of a filter',
    (db, name) =>
      db
        .query('notes')
        .filter((q) => q.eq(q.field(name as string), 1))
        .first(),
    ['place'],
  ],
  ['an order', (db, name) => db.query('notes').order(name).first()],
  ['a field to order by', (db, name) => db.query('notes').order('asc', name).first(), ['place', undefined]],
  ['a cursor', (db, name) => db.query('notes').paginate({ cursor: name, numItems: 1 }), ['', null, undefined]],
  [
    'the end of a page',
    (db, name) => db.query('notes').paginate({ cursor: null, endCursor: name, numItems: 1 }),
    ['', null, undefined],
  ],
  [
    'a reference',
    (db, name) =>
      db
        .query('notes')
        .filter((q) => q.eq(q.field('id'), name))
        .first(),
  ],
];
