/** The table of the model test: its schema, and random documents from pools of values, so that values repeat. */
import { defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';
import type { Kind } from './order.js';
import type { Random } from './random.js';

const shape = {
  name: z.string().nullable().optional(),
  size: z.number().optional(),
  done: z.boolean().optional(),
  any: z
    .union([z.string(), z.number(), z.boolean(), z.null(), z.array(z.unknown()), z.record(z.string(), z.unknown())])
    .optional(),
  place: z.object({ city: z.string().nullable().optional() }).optional(),
  count: z.number().default(0),
  note: z.string().optional(),
};

/** The model's own copy of the document schema. */
export const Thing = z.object(shape);

export const schema = defineSchema({
  things: defineTable(shape)
    .index('by_name', ['name'])
    .index('by_size_name', ['size', 'name'])
    .index('by_done_time', ['done', '_creationTime'])
    .index('by_city_any', ['place.city', 'any'])
    .index('by_any', ['any'])
    .index('by_count_done_size', ['count', 'done', 'size'])
    .index('by_note', ['note']),
});

/** Every field that queries may name, and how its values compare. */
export const FIELDS: Readonly<Record<string, Kind>> = {
  name: 'text',
  size: 'number',
  done: 'boolean',
  any: 'json',
  'place.city': 'text',
  count: 'number',
  note: 'text',
  id: 'text',
  _creationTime: 'number',
};

export const INDEXES: Readonly<Record<string, readonly string[]>> = {
  by_name: ['name'],
  by_size_name: ['size', 'name'],
  by_done_time: ['done', '_creationTime'],
  by_city_any: ['place.city', 'any'],
  by_any: ['any'],
  by_count_done_size: ['count', 'done', 'size'],
  by_note: ['note'],
  by_creation_time: ['_creationTime'],
  by_id: ['id'],
};

// U+FFFF and U+E000 are before every astral character by code point, and after them by UTF-16. Words that differ only
// in case, accents or hyphens are ordered differently by locales.
const SHORT_TEXTS = [
  ...['', ' ', 'a', 'A', 'b', 'B', 'z', 'Z', 'ä', 'Ä', 'ß', 'é', 'e\u0301', 'coop', 'co-op', 'co op', 'CoOp', '_', '%'],
  ...['9', '10', '-1', '1e3', 'true', 'null', '"', "it's", '\\', '\t', '\n', '\u0001', '\u007f', '$1', '{}', '[1]'],
  ...[
    '\uffff',
    '\ue000',
    '\ufffd',
    '😀',
    '👩‍👩‍👧',
    '𝒳',
    '\u{10ffff}',
    'a\uffff',
    'a😀',
    'x\ue000',
    'x𝒳',
    '日本',
    'Ωmega',
    'ﬀ',
  ],
];
/** Longer than a bound of an index may be, but short enough to be indexed whole. */
const MIDDLE_TEXTS = ['1', '2', '\uffff', '😀', ''].map((end) => `${'m'.repeat(300)}${end}`);
/** Too long to be indexed whole, with a common prefix. */
const LONG_TEXTS = [511, 512, 513, 1_100].flatMap((length) =>
  ['', '1', '2', '😀', '\uffff'].map((end) => `${'p'.repeat(length)}${end}`),
);
const TEXTS = [...SHORT_TEXTS, ...SHORT_TEXTS, ...MIDDLE_TEXTS];

const NUMBERS = [
  ...[0, -0, 1, -1, 2, 9, 10, 11, 100, -9, -10, 0.1, 0.3, 0.1 + 0.2, 0.5, -0.5, 1.5, -2.25, 1e3, 123_456_789.125],
  ...[2 ** 53, 2 ** 53 - 1, -(2 ** 53), 1e21, -1e21, 1e22, 1e308, -1e308, 5e-324, -5e-324, Number.MAX_VALUE, 1e-7],
];
const ARRAYS = [[], [1], [1, 2], [2], ['a'], ['A'], [null], [[]], [{}], ['😀'], ['\uffff'], [0.5, true], [{ a: [1] }]];
const OBJECTS = [{}, { a: 1 }, { a: 2 }, { b: 1 }, { aa: 1, b: 2 }, { '': 0 }, { 'k"': "v'" }, { a: { b: { c: [] } } }];

/** A value a field may have, never null or missing. */
export function valueFor(random: Random, kind: Kind): unknown {
  switch (kind) {
    case 'text':
      return random.pick(TEXTS);
    case 'number':
      return random.chance(0.8) ? random.pick(NUMBERS) : random.below(4_000) / 8 - 250;
    case 'boolean':
      return random.chance(0.5);
    case 'json':
      return random.pick<() => unknown>([
        () => random.pick(SHORT_TEXTS),
        () => random.pick(NUMBERS),
        () => random.chance(0.5),
        () => random.pick(ARRAYS),
        () => random.pick(OBJECTS),
      ])();
  }
}

/** A value for a field by its name. */
export function fieldValue(random: Random, field: string): unknown {
  if (field === 'note') return random.pick([...LONG_TEXTS, ...MIDDLE_TEXTS, 'note']);
  if (field === 'count') return random.below(5);
  return valueFor(random, FIELDS[field] as Kind);
}

/** A random input of `insert`. */
export function randomThing(random: Random): Record<string, unknown> {
  const thing: Record<string, unknown> = {};
  for (const field of ['name', 'size', 'done', 'any', 'note', 'count']) {
    if (random.chance(field === 'note' || field === 'count' ? 0.3 : 0.75)) thing[field] = fieldValue(random, field);
    else if (random.chance(0.1)) thing[field] = undefined;
  }
  if (random.chance(0.1)) thing.name = null;
  if (random.chance(0.1)) thing.any = null;
  if (random.chance(0.7)) thing.place = randomPlace(random);
  // Not a field of the schema, so it is stripped.
  if (random.chance(0.1)) thing.unknown = 1;
  return thing;
}

export function randomPlace(random: Random): Record<string, unknown> {
  return random.pick([{}, { city: null }, { city: random.pick(TEXTS) }, { city: random.pick(SHORT_TEXTS) }]);
}

/** A document as other programs store it: with values of foreign types and unknown keys, without defaults. */
export function foreignThing(random: Random): Record<string, unknown> {
  const thing = randomThing(random);
  if (random.chance(0.5)) thing.legacy = { kept: [1, 'x'] };
  if (random.chance(0.6)) delete thing.count;
  if (random.chance(0.3)) thing.size = random.pick(['9', '10', true, [1], null]);
  if (random.chance(0.3)) thing.name = random.pick([9, false, ['a'], {}]);
  if (random.chance(0.3)) thing.done = random.pick(['true', 0, null, {}]);
  if (random.chance(0.2)) thing.place = random.pick(['Ulm', 5, [{ city: 'a' }], { city: 7 }, null]);
  return thing;
}
