/**
 * A Convoy server with rows of any kind, and collections of TanStack DB over them: eager, and on demand. Dates and
 * bigints travel as tagged JSON. The server answers a subset with TanStack DB's own evaluation of its expressions.
 */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { type ConvoyClient, makeMutationRef, makeQueryRef, type RefFor } from '@avvos/convoy/client';
import { convoyCollectionOptions } from '@avvos/convoy/tanstack-db';
import {
  BTreeIndex,
  compileSingleRowExpression,
  createCollection,
  type IR,
  type LoadSubsetOptions,
  makeComparator,
} from '@tanstack/db';
import { z } from 'zod';

/** A row of the application: its columns have values that JSON lacks. */
export interface Row {
  readonly id: string;
  readonly [column: string]: unknown;
}

export const schema = defineSchema({
  rows: defineTable({ kind: z.string(), key: z.string(), row: z.string() })
    .index('by_kind', ['kind'])
    .index('by_key', ['kind', 'key'], { unique: true }),
});

const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();

export const functions = {
  rows: {
    /** The rows of a kind that a subset contains. */
    list: query({
      input: { kind: z.string(), subset: z.string() },
      handler: async (ctx, { kind, subset }) => {
        const documents = await ctx.db
          .query('rows')
          .withIndex('by_kind', (q) => q.eq('kind', kind))
          .collect();
        return rowsIn(
          documents.map(({ row }) => decoded(row) as Row),
          decoded(subset) as Subset,
        ).map(encoded);
      },
    }),
    insert: mutation({
      input: { kind: z.string(), rows: z.array(z.string()) },
      handler: async (ctx, { kind, rows }) => {
        await ctx.db.insertMany(
          'rows',
          rows.map((row) => ({ kind, key: (decoded(row) as Row).id, row })),
        );
      },
    }),
    replace: mutation({
      input: { kind: z.string(), row: z.string() },
      handler: async (ctx, { kind, row }) => {
        const stored = await ctx.db
          .query('rows')
          .withIndex('by_key', (q) => q.eq('kind', kind).eq('key', (decoded(row) as Row).id))
          .unique();
        if (stored !== null) await ctx.db.patch(stored.id, { row });
      },
    }),
    remove: mutation({
      input: { kind: z.string(), key: z.string() },
      handler: async (ctx, { kind, key }) => {
        const stored = await ctx.db
          .query('rows')
          .withIndex('by_key', (q) => q.eq('kind', kind).eq('key', key))
          .unique();
        if (stored !== null) await ctx.db.delete(stored.id);
      },
    }),
  },
};

type Functions = typeof functions.rows;
export const api = {
  list: makeQueryRef('rows.list') as RefFor<'rows.list', Functions['list']>,
  insert: makeMutationRef('rows.insert') as RefFor<'rows.insert', Functions['insert']>,
  replace: makeMutationRef('rows.replace') as RefFor<'rows.replace', Functions['replace']>,
  remove: makeMutationRef('rows.remove') as RefFor<'rows.remove', Functions['remove']>,
};

/** The collection of the rows of a kind, whose changes are mutations. */
export function rowsOf(client: ConvoyClient, kind: string, syncMode: 'eager' | 'on-demand') {
  const argsOf = (subset: LoadSubsetOptions) => {
    const { where, orderBy, limit, cursor } = subset;
    return { kind, subset: encoded({ where, orderBy, limit, cursor }) };
  };
  return createCollection(
    convoyCollectionOptions({
      id: `${kind} ${syncMode}`,
      query: api.list,
      ...(syncMode === 'eager' ? { syncMode, args: argsOf({}) } : { syncMode, args: argsOf }),
      client,
      select: (rows) => rows.map((row) => decoded(row) as Row),
      getKey: ({ id }) => id,
      // Pages are then loaded by cursor.
      autoIndex: 'eager',
      defaultIndexType: BTreeIndex,
      onInsert: async ({ transaction }) => {
        const rows = transaction.mutations.map(({ modified }) => encoded(modified));
        await client.mutation(api.insert, { kind, rows });
      },
      onUpdate: async ({ transaction }) => {
        for (const { modified } of transaction.mutations) {
          await client.mutation(api.replace, { kind, row: encoded(modified) });
        }
      },
      onDelete: async ({ transaction }) => {
        for (const { key } of transaction.mutations) await client.mutation(api.remove, { kind, key: String(key) });
      },
    }),
  );
}

export type Rows = ReturnType<typeof rowsOf>;

type Subset = Pick<LoadSubsetOptions, 'where' | 'orderBy' | 'limit' | 'cursor'>;

/** Those that match, in order; with a cursor all at the cursor, and then as many as requested after it. */
function rowsIn(rows: readonly Row[], { where, orderBy = [], limit, cursor }: Subset): Row[] {
  const comparators = orderBy.map(({ expression, compareOptions }) => {
    const column = compileSingleRowExpression(expression);
    const compare = makeComparator(compareOptions);
    return (a: Row, b: Row) => compare(column(a), column(b));
  });
  const matching = rows.filter(matcher(where));
  matching.sort((a, b) => comparators.map((compare) => compare(a, b)).find((order) => order !== 0) ?? 0);
  if (cursor === undefined) return matching.slice(0, limit);
  return [
    ...matching.filter(matcher(cursor.whereCurrent)),
    ...matching.filter(matcher(cursor.whereFrom)).slice(0, limit),
  ];
}

function matcher(where: IR.BasicExpression<boolean> | undefined): (row: Row) => boolean {
  if (where === undefined) return () => true;
  const matches = compileSingleRowExpression(where);
  return (row) => matches(row) === true;
}

export function encoded(value: unknown): string {
  return JSON.stringify(value, function tag(this: Record<string, unknown>, key, json) {
    const own = this[key];
    if (own instanceof Date) return { $date: own.getTime() };
    return typeof own === 'bigint' ? { $bigint: String(own) } : json;
  });
}

function decoded(text: string): unknown {
  return JSON.parse(text, (_, json) => {
    if (typeof json?.$date === 'number') return new Date(json.$date);
    return typeof json?.$bigint === 'string' ? BigInt(json.$bigint) : json;
  });
}
