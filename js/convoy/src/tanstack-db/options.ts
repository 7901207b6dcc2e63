/** Options for `createCollection`: a collection whose rows are the result of a live query. */
import type { BaseCollectionConfig, CollectionConfig, LoadSubsetOptions } from '@tanstack/db';
import type { CallingClient } from '../client/calling-client.js';
import type { ConvoyClient } from '../client/client.js';
import { resolveClient } from '../client/default-client.js';
import { nameOfRef } from '../protocol/name-of-ref.js';
import type { AnyQueryRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import { CollectionSync } from './collection-sync.js';
import type { Rows } from './synced-rows.js';

/** A row of a query that returns a list of objects. */
export type RowOf<Ref> = ResultOfRef<Ref> extends readonly (infer Row extends object)[] ? Row : never;

/** The key of a row: its `id`. */
export type KeyOf<Row> = Row extends { readonly id: infer Id extends string | number } ? Id : never;

/** The options of `convoyCollectionOptions`. Those of TanStack DB's collections that are not listed are passed on. */
export type ConvoyCollectionConfig<Ref extends AnyQueryRef, Row extends object, Key extends string | number> = Omit<
  BaseCollectionConfig<Row, Key, never, ConvoyCollectionUtils>,
  'getKey' | 'schema' | 'syncMode' | 'utils'
> & {
  /** The query whose result is the collection. */
  readonly query: Ref;
  /** The client that keeps it live; by default one for the page's origin. It is not closed by the collection. */
  readonly client?: ConvoyClient | CallingClient;
  /** The rows of a result, where it is not a list, or where rows are converted. */
  readonly select?: (result: ResultOfRef<Ref>) => readonly Row[];
  /** The key of a row; by default its `id`. */
  readonly getKey?: (row: Row) => Key;
} & (EagerMode<Ref> | OnDemandMode<Ref>) &
  RequiredOptions<Ref>;

/** `select` and `getKey` where they have no default. */
type RequiredOptions<Ref> = [RowOf<Ref>] extends [never]
  ? { readonly select: unknown }
  : [KeyOf<RowOf<Ref>>] extends [never]
    ? { readonly getKey: unknown }
    : unknown;

/** The collection has all rows of one result. */
export type EagerMode<Ref extends AnyQueryRef> = {
  /** Whether the collection has one result, or the results that its live queries need. */
  readonly syncMode?: 'eager';
} & (Record<never, never> extends ArgsOfRef<Ref>
  ? { readonly args?: ArgsOfRef<Ref> }
  : {
      /** The arguments of the query. */
      readonly args: ArgsOfRef<Ref>;
    });

/** The collection has the rows that its live queries need. */
export interface OnDemandMode<Ref extends AnyQueryRef> {
  /** Whether the collection has one result, or the results that its live queries need. */
  readonly syncMode: 'on-demand';
  /**
   * The arguments for a subset of the rows. The result may have more rows than the subset, and must have all of its
   * rows. `parseLoadSubsetOptions` of TanStack DB turns the subset into lists of filters and orders.
   */
  readonly args: (subset: LoadSubsetOptions) => ArgsOfRef<Ref>;
}

/** `collection.utils`. */
export interface ConvoyCollectionUtils {
  // TanStack DB requires an index signature.
  // biome-ignore lint/suspicious/noExplicitAny: TanStack DB's type of utils.
  readonly [name: string]: any;
  /** Why the query fails at the moment; `null` where it does not. */
  readonly error: Error | null;
}

/** The options that `convoyCollectionOptions` returns. */
export type ConvoyCollectionOptions<Row extends object, Key extends string | number> = CollectionConfig<
  Row,
  Key,
  never,
  ConvoyCollectionUtils
> & {
  readonly schema?: never;
  readonly utils: ConvoyCollectionUtils;
};

/**
 * A collection whose rows are the result of a live query, for `createCollection` of TanStack DB. Its handlers
 * `onInsert`, `onUpdate` and `onDelete` call mutations; the optimistic rows of TanStack DB are shown until the result
 * has the changes of the mutations.
 *
 * Each call is for one collection.
 */
export function convoyCollectionOptions<
  Ref extends AnyQueryRef,
  Row extends object = RowOf<Ref>,
  Key extends string | number = KeyOf<Row>,
>(config: ConvoyCollectionConfig<Ref, Row, Key>): ConvoyCollectionOptions<Row, Key> {
  const { query, client, args, select, getKey, syncMode = 'eager', onInsert, onUpdate, onDelete, ...rest } = config;
  const keyOf = getKey ?? (idOf as (row: Row) => Key);
  let current: CollectionSync<Row, Key> | null = null;

  /** The handler, which also waits until the rows have the changes of its mutations. */
  const untilShown = <Params>(handler: ((params: Params) => Promise<unknown>) | undefined) =>
    handler &&
    (async (params: Params) => {
      const result = await handler(params);
      await current?.caughtUp();
      return result;
    });

  return {
    ...rest,
    syncMode,
    getKey: keyOf,
    onInsert: untilShown(onInsert),
    onUpdate: untilShown(onUpdate),
    onDelete: untilShown(onDelete),
    utils: {
      get error() {
        return (current?.error ?? null) as Error | null;
      },
    },
    sync: {
      rowUpdateMode: 'full',
      sync(params) {
        const liveClient = resolveClient(client, null);
        const source = {
          liveQuery: (queryArgs: unknown) => liveClient.liveQuery(query, queryArgs as ArgsOfRef<Ref>),
          argsOf: (subset?: LoadSubsetOptions) =>
            subset === undefined ? args : (args as OnDemandMode<Ref>['args'])(subset),
          rowsOf: (result: unknown) => byKey(rowsOf(result, { query, select }), { query, keyOf }),
        };
        current = new CollectionSync<Row, Key>(source, params);
        return syncMode === 'eager' ? current.loadAll() : current.loadOnDemand();
      },
    },
  } as ConvoyCollectionOptions<Row, Key>;
}

interface RowsOptions {
  readonly query: AnyQueryRef;
  readonly select?: ((result: never) => unknown) | undefined;
}

function rowsOf(result: unknown, { query, select }: RowsOptions): readonly unknown[] {
  const rows = select === undefined ? result : select(result as never);
  if (Array.isArray(rows)) return rows;
  const name = nameOfRef(query);
  throw new TypeError(
    select === undefined
      ? `The result of ${name} is not a list. Pass \`select\`, which returns the rows of a result.`
      : `\`select\` returned no list for ${name}. It must return the rows of a result.`,
  );
}

interface KeyOptions<Row, Key> {
  readonly query: AnyQueryRef;
  readonly keyOf: (row: Row) => Key;
}

/** Rows by key; of rows with the same key, the last. */
function byKey<Row, Key>(rows: readonly unknown[], { query, keyOf }: KeyOptions<Row, Key>): Rows<Row, Key> {
  return new Map(
    (rows as readonly Row[]).map((row) => {
      const key = keyOf(row);
      if (typeof key === 'string' || typeof key === 'number') return [key, row];
      throw new TypeError(
        `A row of ${nameOfRef(query)} has no key. Pass \`getKey\`, which returns a text or a number.`,
      );
    }),
  );
}

function idOf(row: object): unknown {
  return (row as { readonly id?: unknown }).id;
}
