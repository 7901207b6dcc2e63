/**
 * The tables of the generated project: 60 of them, with fields of every kind that a schema may have. Every tenth table
 * is a discriminated union; every table refers to two others.
 */

const SUBJECTS = [
  'account',
  'article',
  'booking',
  'campaign',
  'contract',
  'course',
  'device',
  'invoice',
  'project',
  'team',
];
const PARTS = ['', 'Note', 'File', 'Member', 'Event', 'Setting'];

/** The fields that every table has, apart from its references. */
const COMMON = [
  'title: z.string().min(1).max(200)',
  "status: z.enum(['draft', 'active', 'archived']).default('draft')",
  'position: z.number().default(0)',
  'tags: z.array(z.string()).default([])',
];

/** Fields by turns, with an input of `create` and an expression that reads them. */
const VARIANTS = [
  {
    fields: [
      'address: z.object({ street: z.string(), city: z.string(), zip: z.string().optional(), location: z.object({ lat: z.number(), lng: z.number() }).optional() }).optional()',
      'phone: z.string().nullable()',
    ],
    values: "address: { street: 'Main Street', city: 'Riga' }, phone: null",
    shown: 'row.address?.city',
    index: 'address.city',
  },
  {
    fields: [
      'price: z.number().nonnegative()',
      "currency: z.enum(['EUR', 'SEK', 'USD'])",
      'discounts: z.array(z.object({ code: z.string(), percent: z.number(), until: z.number().nullable() }))',
    ],
    values: "price: 10, currency: 'EUR', discounts: []",
    shown: 'row.discounts.map(({ code }) => code).join()',
    index: 'price',
  },
  {
    fields: [
      "payload: z.union([z.string(), z.number(), z.object({ kind: z.literal('file'), url: z.string() })])",
      'checksum: z.string().optional()',
    ],
    values: "payload: { kind: 'file', url: '/a' }",
    shown: "typeof row.payload === 'object' ? row.payload.url : row.payload",
    index: 'checksum',
  },
  {
    fields: ['settings: z.record(z.string(), z.boolean())', 'email: z.email().nullable()'],
    values: 'settings: { sound: true }, email: null',
    shown: "row.settings.sound ? row.email : ''",
    index: 'email',
  },
  {
    fields: [
      'body: z.string()',
      'attachments: z.array(z.object({ name: z.string(), size: z.number(), mime: z.string() })).optional()',
      'editedAt: z.number().optional()',
    ],
    values: "body: 'text'",
    shown: 'row.attachments?.[0]?.name ?? row.body',
    index: 'editedAt',
  },
  {
    fields: [
      'startsAt: z.number()',
      'endsAt: z.number().nullable()',
      "repeat: z.object({ every: z.enum(['day', 'week']), count: z.number().int() }).nullable()",
    ],
    values: 'startsAt: 0, endsAt: null, repeat: null',
    shown: 'row.repeat?.every',
    index: 'startsAt',
  },
];

/** The options of a table that is a union. */
const OPTIONS = [
  "type: z.literal('created'), by: z.string()",
  "type: z.literal('moved'), from: z.number(), to: z.number()",
  "type: z.literal('removed'), reason: z.string().optional()",
];

const NAMES = SUBJECTS.flatMap((subject) => PARTS.map((part) => `${subject}${part}s`));

/** All tables: name, Zod source, and what functions and components need of them. */
export const TABLES = NAMES.map((name, index) => {
  const variant = VARIANTS[index % VARIANTS.length];
  const isUnion = index % 10 === 9;
  const owner = NAMES[(index * 7 + 1) % NAMES.length];
  const parent = NAMES[(index * 11 + 5) % NAMES.length];
  const references = [`ownerId: defineRef('${owner}')`, `parentId: defineRef('${parent}').optional()`];
  const fields = [...references, ...COMMON, ...(isUnion ? [] : variant.fields)];
  return {
    name,
    owner,
    parent,
    isUnion,
    fields,
    values: isUnion ? "type: 'created', by: 'ada'" : variant.values,
    shown: isUnion ? "row.type === 'moved' ? row.to : row.type" : variant.shown,
    indexed: isUnion ? 'type' : variant.index,
    inputFields: isUnion ? ["type: z.literal('created'), by: z.string()"] : variant.fields,
    source: isUnion ? unionOf(fields) : `{\n${lines(fields, '    ')}\n  }`,
  };
});

function unionOf(fields) {
  const options = OPTIONS.map((option) => `z.object({ ${option}, ${fields.join(', ')} })`);
  return `z.discriminatedUnion('type', [\n    ${options.join(',\n    ')},\n  ])`;
}

function lines(entries, indent) {
  return entries.map((entry) => `${indent}${entry},`).join('\n');
}

/** @param {boolean} exportsTables whether each table is an export, or all are in one expression */
export function schemaFile(exportsTables) {
  const tables = TABLES.map(({ name, source, indexed }) => [
    name,
    `defineTable(${source})
    .index('by_owner', ['ownerId', 'position'])
    .index('by_status', ['status', '_creationTime'])
    .index('by_detail', ['${indexed}'])`,
  ]);
  const exported = tables.map(([name, source]) => `export const ${name} = ${source};\n`);
  const properties = tables.map(([name, source]) => `  ${exportsTables ? name : `${name}: ${source}`},\n`);
  return `import { defineRef, defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

${exportsTables ? `${exported.join('\n')}\n` : ''}export default defineSchema({
${properties.join('')}});
`;
}
