/**
 * What JavaScript asks the engine to do for a call, as it crosses: one JSON object each, in the order they were issued.
 * `table` is the table's name in code, `id` a bare uuid in lower case. Types only.
 */

import type { FieldKind } from '../schema/index.js';

/** An operation as the engine reads it. */
export type Operation = ReadOperation | WriteOperation | RawOperation | ControlOperation;

/** Changes nothing. */
export type ReadOperation =
  | { readonly op: 'get'; readonly table: string; readonly id: string }
  | ScanOperation
  | ({ readonly op: 'count'; readonly table: string } & Plan)
  | PageOperation;

/** Changes documents; answers with the new document, or `null` where there is none. */
export type WriteOperation =
  | InsertOperation
  | {
      readonly op: 'patch';
      readonly table: string;
      readonly id: string;
      readonly set: object;
      readonly unset: readonly string[];
    }
  | { readonly op: 'replace'; readonly table: string; readonly id: string; readonly doc: object }
  | {
      readonly op: 'increment';
      readonly table: string;
      readonly id: string;
      readonly field: string;
      readonly by: number;
      /** What a missing field counts as. */
      readonly base: number;
    }
  /** Answers whether there was one. */
  | { readonly op: 'delete'; readonly table: string; readonly id: string };

/** A new document under an id made beforehand. */
export interface InsertOperation {
  readonly op: 'insert';
  readonly table: string;
  readonly id: string;
  readonly doc: object;
}

/** A statement of the user's own; answers with its rows. */
export interface RawOperation {
  readonly op: 'raw';
  readonly text: string;
  /** In Postgres' text form. */
  readonly values: readonly (string | null)[];
  /** What it reads, where someone said. */
  readonly tables: readonly string[] | null;
  /** It must not write, though its transaction may: a query that a mutation runs. */
  readonly readOnly?: true;
}

/** About the transaction itself. */
export type ControlOperation =
  /** A place to return to; `name` is unique within the call. */
  | { readonly op: 'savepoint'; readonly name: number }
  /** Undoes everything since the savepoint `to`, which stays; without one, the whole transaction. */
  | { readonly op: 'rollback'; readonly to?: number }
  /** These two only in a call that has no transaction of its own. */
  | { readonly op: 'begin' }
  | { readonly op: 'commit' };

/** Documents of a table, in an order. */
export type ScanOperation = { readonly op: 'scan'; readonly table: string } & Plan;

/** A part of them, from one cursor to the next; its plan has no limit. */
export type PageOperation = {
  readonly op: 'page';
  readonly table: string;
  readonly cursor: string | null;
  /** Where the page ends, whatever its size. */
  readonly end: string | null;
  readonly size: number;
} & Plan;

/** Which documents of a table, and in which order. */
export interface Plan {
  /** `null` is creation order. */
  readonly index: string | null;
  /** Values of the index's first fields. */
  readonly eq: readonly unknown[];
  /** Bounds on the field behind them. */
  readonly lower?: ScanBound;
  readonly upper?: ScanBound;
  readonly filter?: Filter;
  /** A field to order by instead of the index. */
  readonly by?: OrderField;
  readonly order: 'asc' | 'desc';
  readonly offset?: number;
  readonly limit: number | null;
}

/** One end of a range. */
export interface ScanBound {
  readonly value: unknown;
  readonly inclusive: boolean;
}

/** A field to order by. */
export interface OrderField {
  readonly field: string;
  readonly kind: FieldKind;
}

/** A condition on stored values, compared by value and type; each is true or false, never unknown. */
export type Filter =
  | { readonly is: 'eq' | 'gt' | 'gte' | 'lt' | 'lte'; readonly field: string; readonly value: unknown }
  | { readonly is: 'in'; readonly field: string; readonly values: readonly unknown[] }
  | { readonly is: 'and' | 'or'; readonly of: readonly Filter[] }
  | { readonly is: 'not'; readonly of: Filter };
