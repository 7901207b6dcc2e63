/**
 * Support for Drizzle's `sql` objects, which are recognised by their shape: Drizzle is not a dependency. They build
 * their text themselves, with a configuration that defines quoting and placeholders for Postgres.
 */

/** The members of Drizzle's `SQL` that are used here. */
export interface DrizzleSql {
  /** By which such an object is recognised. */
  readonly queryChunks: readonly unknown[];
}

/** True for an object with the shape of Drizzle's `SQL`. */
export function isDrizzleSql(value: unknown): value is DrizzleSql {
  return typeof value === 'object' && value !== null && Array.isArray((value as { queryChunks?: unknown }).queryChunks);
}

/** The text and the values of a Drizzle query; rethrows Drizzle's error if it cannot be built. */
export function fromDrizzle(query: DrizzleSql): { readonly text: string; readonly values: readonly unknown[] } {
  const { toQuery } = query as { toQuery?: unknown };
  if (typeof toQuery !== 'function') throw new TypeError('it has no toQuery() method');
  const built = (toQuery as (config: typeof POSTGRES) => { sql: string; params: readonly unknown[] }).call(
    query,
    POSTGRES,
  );
  const unfilled = built.params.map(placeholderIn).find((name) => name !== null);
  if (unfilled !== undefined) throw new TypeError(`the placeholder '${unfilled}' has no value; pass the value itself`);
  return { text: built.sql, values: built.params };
}

/** The configuration that Drizzle's Postgres dialect passes to `toQuery`. */
const POSTGRES = {
  casing: { getColumnCasing: (column: { readonly name: string }) => column.name },
  escapeName: (name: string) => `"${name.replaceAll('"', '""')}"`,
  escapeParam: (place: number) => `$${place + 1}`,
  escapeString: (text: string) => `'${text.replaceAll("'", "''")}'`,
};

const KIND = Symbol.for('drizzle:entityKind');

/** The name of a placeholder, alone or with its encoder; `null` for any other value. */
function placeholderIn(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return null;
  const kind = (value.constructor as { [KIND]?: unknown } | undefined)?.[KIND];
  if (kind === 'Placeholder') return String((value as { name?: unknown }).name);
  return kind === 'Param' ? placeholderIn((value as { value?: unknown }).value) : null;
}
