/**
 * Drizzle's `sql` objects, known by their shape alone: Drizzle is no dependency. They can build their own text, which
 * keeps us from knowing their parts; we only say how Postgres quotes names and numbers values.
 */

/** As much of Drizzle's `SQL` as we use. */
export interface DrizzleSql {
  readonly queryChunks: readonly unknown[];
}

/** True for what reads like an `SQL` of Drizzle. */
export function isDrizzleSql(value: unknown): value is DrizzleSql {
  return typeof value === 'object' && value !== null && Array.isArray((value as { queryChunks?: unknown }).queryChunks);
}

/** The text and the values of a Drizzle query; throws what Drizzle throws where it cannot build it. */
export function fromDrizzle(query: DrizzleSql): { readonly text: string; readonly values: readonly unknown[] } {
  const { toQuery } = query as { toQuery?: unknown };
  if (typeof toQuery !== 'function') throw new TypeError('it has no toQuery(), as objects of Drizzle have');
  const built = (toQuery as (config: typeof POSTGRES) => { sql: string; params: readonly unknown[] }).call(
    query,
    POSTGRES,
  );
  const unfilled = built.params.map(placeholderIn).find((name) => name !== null);
  if (unfilled !== undefined) throw new TypeError(`the placeholder '${unfilled}' has no value; write the value itself`);
  return { text: built.sql, values: built.params };
}

/** What Drizzle's dialects tell a query that builds itself. */
const POSTGRES = {
  casing: { getColumnCasing: (column: { readonly name: string }) => column.name },
  escapeName: (name: string) => `"${name.replaceAll('"', '""')}"`,
  escapeParam: (place: number) => `$${place + 1}`,
  escapeString: (text: string) => `'${text.replaceAll("'", "''")}'`,
};

const KIND = Symbol.for('drizzle:entityKind');

/** The name of a placeholder among the values, alone or with its encoder; `null` for every other value. */
function placeholderIn(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) return null;
  const kind = (value.constructor as { [KIND]?: unknown } | undefined)?.[KIND];
  if (kind === 'Placeholder') return String((value as { name?: unknown }).name);
  return kind === 'Param' ? placeholderIn((value as { value?: unknown }).value) : null;
}
