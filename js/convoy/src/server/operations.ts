/**
 * The operations that a call sends to the engine: one JSON object each, in the order in which they were issued. `table` is
 * the table's name in code, `id` a bare uuid in lower case. Types only.
 */

import type { FieldKind } from '../schema/index.js';

/** Any operation. */
export type Operation = DataOperation | ControlOperation;

/** An operation that runs under a Postgres role. */
export type DataOperation = (ReadOperation | WriteOperation | RawOperation) & RoleMarks;

/** The role of an operation. Exactly one of them in a program with row-level security, and none in any other. */
export interface RoleMarks {
  /** It runs under the role of the connection. */
  readonly system?: true;
  /** It runs under the role of clients, with these settings. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** An operation without effects. */
export type ReadOperation =
  | ({ readonly op: 'get'; readonly table: string; readonly id: string } & Cached)
  | ScanOperation
  | ({ readonly op: 'count'; readonly table: string } & Plan)
  | PageOperation;

/** A write; its result is the new document, or `null` if the document does not exist. */
export type WriteOperation =
  | InsertOperation
  | PatchOperation
  | { readonly op: 'replace'; readonly table: string; readonly id: string; readonly doc: object }
  | {
      readonly op: 'increment';
      readonly table: string;
      readonly id: string;
      readonly field: string;
      readonly by: number;
      /** The value of a missing field. */
      readonly base: number;
    }
  /** Its result is whether the document existed. */
  | { readonly op: 'delete'; readonly table: string; readonly id: string };

/** Inserts a document under an id generated beforehand. */
export interface InsertOperation {
  readonly op: 'insert';
  readonly table: string;
  readonly id: string;
  readonly doc: object;
}

export interface PatchOperation {
  readonly op: 'patch';
  readonly table: string;
  readonly id: string;
  readonly set: object;
  readonly unset: readonly string[];
}

/** A user statement; its result is its rows. */
export interface RawOperation {
  readonly op: 'raw';
  readonly text: string;
  /** In Postgres's text format. */
  readonly values: readonly (string | null)[];
  /** The tables it reads, if the user named them. */
  readonly tables: readonly string[] | null;
  /** Forbids writes although the transaction allows them: the statement of a query called by a mutation. */
  readonly readOnly?: true;
}

/** Controls the transaction of the call. */
export type ControlOperation =
  /** `name` is unique within the call. */
  | { readonly op: 'savepoint'; readonly name: number }
  /** Rolls back to the savepoint `to`, which stays, or the whole transaction. */
  | { readonly op: 'rollback'; readonly to?: number }
  /** `begin` and `commit` only in a call that the engine does not run in a transaction. */
  | { readonly op: 'begin' }
  | { readonly op: 'commit' };

/** Reads documents of a table. */
export type ScanOperation = { readonly op: 'scan'; readonly table: string } & Plan & Cached;

/** The reads that the engine may answer from memory. */
export type CachedOperation = Extract<ReadOperation, { readonly op: 'get' | 'scan' }>;

interface Cached {
  /** The operation as text. */
  readonly cached?: string;
}

/** Reads one page of documents, from a cursor on; its plan has no limit. */
export type PageOperation = {
  readonly op: 'page';
  readonly table: string;
  readonly cursor: string | null;
  /** The cursor where the page ends, regardless of its size. */
  readonly end: string | null;
  readonly size: number;
  /** Adds `cursors` to the result: those of the start of the page and of each row. */
  readonly cursors?: true;
} & Plan;

/** Selects and orders documents of a table. */
export interface Plan {
  /** `null` is creation order. */
  readonly index: string | null;
  /** The values of the index's first fields. */
  readonly eq: readonly unknown[];
  /** Bounds on the next field of the index. */
  readonly lower?: ScanBound;
  readonly upper?: ScanBound;
  readonly filter?: Filter;
  /** A further condition, of an access rule. Cursors do not depend on it. */
  readonly within?: Filter;
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

/** A condition on stored values, compared by value and type. Its result is true or false, never SQL's unknown. */
export type Filter =
  | { readonly is: 'eq' | 'gt' | 'gte' | 'lt' | 'lte'; readonly field: string; readonly value: unknown }
  | { readonly is: 'in'; readonly field: string; readonly values: readonly unknown[] }
  | { readonly is: 'and' | 'or'; readonly of: readonly Filter[] }
  | { readonly is: 'not'; readonly of: Filter };
