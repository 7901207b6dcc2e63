/**
 * Turns the `where` of Better Auth into clauses on stored values: dates are numbers, ids are those of documents, and a
 * session token is its SHA-256. A document matches if it fits all clauses joined by `AND` and, if there are any, one of
 * those joined by `OR`, as in the other adapters of Better Auth.
 */

import type { CleanedWhere } from 'better-auth/adapters';
import { type IdForm, parseId } from './ids.js';
import type { FieldLayout, TableLayout } from './layout.js';
import { hashToken } from './session-tokens.js';

/** A value that is stored or compared. */
export type Stored = string | number | boolean | null;

/** The comparisons that Better Auth makes. */
export type Operator = Exclude<CleanedWhere['operator'], undefined>;

/** One comparison of a field. */
export interface Clause {
  readonly field: string;
  readonly operator: Operator;
  /** A list for `in` and `not_in`, else one value. */
  readonly values: readonly Stored[];
  readonly ignoresCase: boolean;
}

/** What a document must fit. */
export interface Where {
  readonly all: readonly Clause[];
  /** Empty if there is no clause joined by `OR`. */
  readonly any: readonly Clause[];
}

/** The clauses of `where`. */
export function parseWhere(table: TableLayout, where: readonly CleanedWhere[], form: IdForm): Where {
  const parse = (clause: CleanedWhere): Clause => parseClause(table, clause, form);
  return {
    all: where.filter(({ connector }) => connector !== 'OR').map(parse),
    any: where.filter(({ connector }) => connector === 'OR').map(parse),
  };
}

/** Operators for which the stored form of a value must be equal to the stored form of the field. */
const BY_EQUALITY: ReadonlySet<string> = new Set(['eq', 'ne', 'in', 'not_in']);

function parseClause(table: TableLayout, { field, operator = 'eq', value, mode }: CleanedWhere, form: IdForm): Clause {
  const given: readonly unknown[] = Array.isArray(value) ? value : [value];
  // Often a mistake; as null it would match the documents that lack the field.
  if (given.includes(undefined)) {
    throw new TypeError(
      `Better Auth compares the field ${field} of ${table.table} with undefined. Pass a value, or null for documents that ` +
        'lack the field.',
    );
  }
  const isEquality = BY_EQUALITY.has(operator);
  if (field === table.tokenField && !isEquality) {
    throw new TypeError(
      `Better Auth asks for sessions whose token fits \`${operator}\`. Tokens are stored as their SHA-256, by which only ` +
        'whole tokens can be found.',
    );
  }
  const toStored = (each: unknown): Stored => {
    if (each === null) return null;
    if (field === 'id') return isEquality ? parseId(table.table, String(each), form).id : String(each);
    if (field === table.tokenField) return hashToken(String(each));
    return storedScalar(layoutOfField(table, field), each);
  };
  const isText = given.every((each) => typeof each === 'string');
  const isExact = field === 'id' || field === table.tokenField;
  return { field, operator, values: given.map(toStored), ignoresCase: mode === 'insensitive' && isText && !isExact };
}

/** The layout of a field; fails if the options of Better Auth have no such field. */
export function layoutOfField(table: TableLayout, name: string): FieldLayout {
  const field = table.fields.find((each) => each.name === name || each.key === name);
  if (field === undefined)
    throw new TypeError(`Better Auth asks for the field ${name} of ${table.table}, which it lacks.`);
  return field;
}

function storedScalar({ type, name }: FieldLayout, value: unknown): Stored {
  if (value instanceof Date) return value.getTime();
  if (type === 'date' && typeof value === 'string') return new Date(value).getTime();
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  throw new TypeError(
    `Better Auth compares the field ${name} with an object; only texts, numbers and dates can be compared.`,
  );
}
