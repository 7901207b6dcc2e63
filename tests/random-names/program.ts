/** Tables, fields, indexes and functions of random names, and which of them `defineSchema` must refuse. */
import { type ConvoyContext, defineTable, mutation, query, type SchemaDefinition } from '@avvos/convoy';
import { z } from 'zod';
import {
  anyName,
  isCodeName,
  isFieldName,
  isFolderName,
  isFunctionName,
  isIndexable,
  isPhysicalName,
  mostlyIdentifier,
} from '../model/names.js';
import type { Random } from '../model/random.js';

/** The names of a table, of what is in it, and of the functions that use it. */
export interface Names {
  /** In code. */
  readonly table: string;
  /** In Postgres. */
  readonly physical: string;
  readonly text: string;
  readonly number: string;
  /** A field of an object, and of the object in it. */
  readonly outer: string;
  readonly inner: string;
  /** The index of `text`, and that of `outer.inner` and `number`. */
  readonly byText: string;
  readonly byInner: string;
  readonly folder: string;
  readonly add: string;
  readonly find: string;
  readonly change: string;
}

/** Names that differ where they have to, also from those of the other tables. */
export function randomNames(random: Random, others: readonly Names[]): Names {
  const differing = (create: () => string, taken: string[]): string => {
    for (;;) {
      const name = create();
      if (taken.includes(name)) continue;
      taken.push(name);
      return name;
    }
  };
  const any = () => anyName(random);
  const code = () => mostlyIdentifier(random);
  const [fields, indexes, functions]: [string[], string[], string[]] = [[], [], []];
  return {
    table: differing(
      code,
      others.map(({ table }) => table),
    ),
    physical: differing(
      any,
      others.map(({ physical }) => physical),
    ),
    text: differing(any, fields),
    number: differing(any, fields),
    outer: differing(any, fields),
    inner: any(),
    byText: differing(code, indexes),
    byInner: differing(code, indexes),
    folder: differing(
      any,
      others.map(({ folder }) => folder),
    ),
    add: differing(any, functions),
    find: differing(any, functions),
    change: differing(any, functions),
  };
}

const SYSTEM_FIELDS = ['id', '_creationTime'];
const SYSTEM_INDEXES = ['by_id', 'by_creation_time'];

/** Whether a table may have these names. */
export function isSchema({ table, physical, text, number, outer, inner, byText, byInner }: Names): boolean {
  return (
    isCodeName(table) &&
    isPhysicalName(physical) &&
    [text, number, outer].every((name) => isFieldName(name) && !SYSTEM_FIELDS.includes(name) && isIndexable(name)) &&
    isFieldName(inner) &&
    isIndexable(inner) &&
    [byText, byInner].every((name) => isCodeName(name) && !SYSTEM_INDEXES.includes(name))
  );
}

/** Whether functions may have these names. */
export function areFunctions({ folder, add, find, change }: Names): boolean {
  return isFolderName(folder) && [add, find, change].every(isFunctionName);
}

/** The values of the fields of a document. */
export interface Values {
  readonly text: string;
  readonly number: number;
  /** That of the field in the object. */
  readonly inside: number;
}

export const documentOf = (names: Names, { text, number, inside }: Values): Record<string, unknown> =>
  ownKeys<unknown>([
    [names.text, text],
    [names.number, number],
    [names.outer, ownKeys([[names.inner, inside]])],
  ]);

/** The input of `defineSchema`. */
export function tablesOf(all: readonly Names[]): SchemaDefinition['tables'] {
  const tables = all.map((names) => {
    const shape = ownKeys<z.ZodType>([
      [names.text, z.string()],
      [names.number, z.number()],
      [names.outer, z.object(ownKeys([[names.inner, z.number()]]))],
    ]);
    const table = defineTable(shape)
      .index(names.byText, [names.text as never])
      .index(names.byInner, [`${names.outer}.${names.inner}`, names.number] as never);
    table.name = names.physical;
    return [names.table, table] as const;
  });
  return ownKeys(tables) as never;
}

type Range = (q: { eq(field: string, value: unknown): Record<'eq', Range> }) => unknown;

export function functionsOf(all: readonly Names[]): object {
  return ownKeys(
    all.map((names) => {
      const { table, text, number, outer, inner } = names;
      const inIndex = (ctx: ConvoyContext, index: string, range: Range) =>
        ctx.db
          .query(table as never)
          .withIndex(index as never, range as never)
          .collect();
      return [
        names.folder,
        ownKeys<unknown>([
          [
            names.add,
            mutation({
              input: { document: z.unknown() },
              handler: (ctx, { document }) => ctx.db.insert(table as never, document as never),
            }),
          ],
          [
            names.find,
            query({
              input: { text: z.string(), number: z.number(), inside: z.number() },
              handler: async (ctx, args) => ({
                byText: await inIndex(ctx, names.byText, (q) => q.eq(text, args.text)),
                byInner: await inIndex(ctx, names.byInner, (q) =>
                  (q.eq(`${outer}.${inner}`, args.inside) as never as Parameters<Range>[0]).eq(number, args.number),
                ),
                filtered: await ctx.db
                  .query(table as never)
                  .filter((q) => q.eq(q.field(text as never), args.text as never))
                  .order('desc', number as never)
                  .collect(),
              }),
            }),
          ],
          [
            names.change,
            mutation({
              input: { id: z.string(), changes: z.unknown() },
              handler: async (ctx, { id, changes }) => {
                await ctx.db.patch(table as never, id as never, changes as never);
                await ctx.db.increment(table as never, id as never, number as never, 1);
              },
            }),
          ],
        ]),
      ] as const;
    }),
  );
}

/** The full name of a function. */
export const path = ({ folder }: Names, name: string): string => (folder === '' ? name : `${folder}.${name}`);

/** An object with these properties of its own, also if one is called `__proto__`. */
function ownKeys<T>(entries: readonly (readonly [string, T])[]): Record<string, T> {
  return Object.fromEntries(entries);
}
