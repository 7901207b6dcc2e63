/**
 * The tables of Better Auth as documents: for each of its models, the table, the fields and the indexes. `tables.ts` makes
 * the definitions for `defineSchema` of it, and the adapter its queries, so that both always use the same names.
 *
 * Plain data, which can be sent to another thread.
 */

import type { BetterAuthDBSchema, DBFieldAttribute } from 'better-auth/db';

/** How the values of a field are stored. */
export type StoredType = 'string' | 'number' | 'boolean' | 'date' | 'json' | 'string[]' | 'number[]';

/** A field of a document. */
export interface FieldLayout {
  /** Its name in the document. */
  readonly name: string;
  /** Its name in Better Auth. */
  readonly key: string;
  readonly type: StoredType;
  readonly required: boolean;
  /** The texts that the field may have, if Better Auth declares them. */
  readonly values: readonly string[] | null;
}

/** An index of a table. */
export interface IndexLayout {
  readonly name: string;
  readonly fields: readonly string[];
  readonly unique: boolean;
}

/** A table. */
export interface TableLayout {
  readonly table: string;
  readonly fields: readonly FieldLayout[];
  readonly indexes: readonly IndexLayout[];
  /** The field of session tokens, which are stored as their SHA-256. */
  readonly tokenField: string | null;
}

/** The tables by the names under which Better Auth asks for them. */
export type Layout = ReadonlyMap<string, TableLayout>;

/** Contains the session token, encrypted, beside its SHA-256. */
export const SEALED_TOKEN = 'sealedToken';

/** Contains the id that Better Auth has given to a document, if that is no id of Convoy. */
export const GIVEN_ID = 'givenId';

/** The layout of `schema`, which is the result of Better Auth's `getAuthTables`. */
export function layoutOf(schema: BetterAuthDBSchema): Layout {
  const layout = new Map<string, TableLayout>();
  for (const [model, { modelName, fields, indexes = [] }] of Object.entries(schema)) {
    const named = Object.entries(fields)
      .filter(([key]) => key !== 'id')
      .map(([key, field]) => fieldLayout(key, field));
    const nameOf = (key: string): string => fields[key]?.fieldName ?? key;
    const found = [
      ...(CORE_INDEXES[model] ?? []).map(({ keys, unique }) => ({ fields: keys.map(nameOf), unique })),
      ...Object.entries(fields)
        .filter(([key, field]) => key !== 'id' && isIndexed(field))
        .map(([key, { unique = false }]) => ({ fields: [nameOf(key)], unique })),
      ...indexes.map(({ fields: keys, unique = false }) => ({ fields: keys.map(nameOf), unique })),
    ];
    layout.set(modelName, {
      table: tableName(modelName),
      fields: named,
      indexes: namedIndexes(found),
      tokenField: model === 'session' ? nameOf('token') : null,
    });
  }
  return layout;
}

/** Indexes for queries that Better Auth makes often, and whose fields it does not declare as indexed. */
const CORE_INDEXES: Readonly<Record<string, readonly { keys: readonly string[]; unique: boolean }[]>> = {
  // Two concurrent sign-ins must not link the same account of a provider twice.
  account: [{ keys: ['providerId', 'accountId'], unique: true }],
  // Each look-up of a verification deletes the expired ones.
  verification: [{ keys: ['expiresAt'], unique: false }],
};

function isIndexed({ unique, index, references }: DBFieldAttribute): boolean {
  return unique === true || index === true || references !== undefined;
}

function fieldLayout(key: string, { fieldName, type, required }: DBFieldAttribute): FieldLayout {
  const values = Array.isArray(type) ? (type as readonly string[]) : null;
  return {
    name: fieldName ?? key,
    key,
    type: values === null ? (type as StoredType) : 'string',
    required: required !== false,
    values,
  };
}

/** Of several indexes of the same fields, one is kept; it is unique if one of them is. */
function namedIndexes(found: readonly { fields: readonly string[]; unique: boolean }[]): IndexLayout[] {
  const indexes = new Map<string, IndexLayout>();
  for (const { fields, unique } of found) {
    const name = `by_${fields.join('_')}`;
    indexes.set(name, { name, fields, unique: unique || indexes.get(name)?.unique === true });
  }
  return [...indexes.values()];
}

/** A table's name consists of letters, digits and `_`; Better Auth accepts any text as the name of a model. */
function tableName(modelName: string): string {
  return modelName.replace(/[^A-Za-z0-9_]/g, '_').replace(/^(?=[0-9])/, '_');
}
