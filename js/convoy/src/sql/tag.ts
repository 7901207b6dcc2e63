/** The tag `` sql`…` `` and its helpers: SQL text with bound values. */

import { ConvoyError } from '../values/errors.js';
import { assemble, isSqlFragment, SqlFragment } from './fragment.js';

/** The type of `sql`. */
export interface SqlTag {
  /**
   * A statement or a part of one: `` sql`select * from orders where total > ${least}` ``. A fragment in it becomes part
   * of the text; everything else is a bound value, whose type Postgres infers from its position.
   */
  (strings: TemplateStringsArray, ...values: readonly unknown[]): SqlFragment;
  /** Text that is inserted as SQL without quoting. Never pass user input. */
  raw(text: string): SqlFragment;
  /** The quoted name of a table, a column, …. A dot is part of the name, not a separator. */
  identifier(name: string): SqlFragment;
  /** Concatenates fragments or values with a separator: `` sql.join(parts, sql` and `) ``. */
  join(fragments: readonly unknown[], separator: SqlFragment): SqlFragment;
  /** An empty fragment, for an optional part. */
  empty(): SqlFragment;
}

/** Writes SQL for `ctx.db.raw`. */
export const sql: SqlTag = Object.assign(tag, { raw, identifier, join, empty });

/** Postgres truncates longer names, which then denote another object. */
export const MAX_NAME_BYTES = 63;

function tag(strings: TemplateStringsArray, ...values: readonly unknown[]): SqlFragment {
  if (!Array.isArray(strings) || !Array.isArray(strings.raw)) {
    throw invalid('sql is a template tag: write sql`select …` without parentheses, so that values are bound');
  }
  // The cooked text of a template part with an invalid escape is undefined.
  if (strings.some((text) => text === undefined)) {
    throw invalid('sql`…` has a backslash that JavaScript reads as an invalid escape; write it twice: \\\\');
  }
  return assemble(strings, values);
}

function raw(text: string): SqlFragment {
  if (typeof text !== 'string') throw invalid('sql.raw() takes a string');
  return new SqlFragment([text], []);
}

function identifier(name: string): SqlFragment {
  if (typeof name !== 'string' || name === '') throw invalid('sql.identifier() takes a name');
  if (name.includes('\u0000') || new TextEncoder().encode(name).length > MAX_NAME_BYTES) {
    throw invalid(`sql.identifier(): a name in Postgres has at most ${MAX_NAME_BYTES} bytes and no NUL character`);
  }
  return new SqlFragment([`"${name.replaceAll('"', '""')}"`], []);
}

function join(fragments: readonly unknown[], separator: SqlFragment): SqlFragment {
  if (!Array.isArray(fragments)) throw invalid('sql.join() takes an array of fragments');
  // Without a separator, the fragments are concatenated, as in Drizzle.
  if (separator !== undefined && !isSqlFragment(separator)) {
    throw invalid('sql.join() takes its separator as an SQL fragment: sql.join(parts, sql`, `)');
  }
  const between = fragments.flatMap((each, place) => (place > 0 && separator ? [separator, each] : [each]));
  return assemble(new Array<string>(between.length + 1).fill(''), between);
}

function empty(): SqlFragment {
  return new SqlFragment([''], []);
}

function invalid(message: string): ConvoyError {
  return new ConvoyError('INVALID_ARGS', `${message}.`);
}
