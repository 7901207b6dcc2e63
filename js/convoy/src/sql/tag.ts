/** `` sql`…` `` and its companions: SQL written as SQL, with values that stay values. */

import { ConvoyError } from '../values/errors.js';
import { assemble, isSqlFragment, SqlFragment } from './fragment.js';

/** The type of `sql`. */
export interface SqlTag {
  /**
   * A statement or a part of one: `` sql`select * from orders where total > ${least}` ``. A fragment in it becomes part
   * of the text; everything else is a value, which Postgres reads by the type the place asks for.
   */
  (strings: TemplateStringsArray, ...values: readonly unknown[]): SqlFragment;
  /** Text that is SQL as it stands. Never from a user: nothing in it is quoted. */
  raw(text: string): SqlFragment;
  /** A name of a table, a column, …, quoted. It is one name: a dot in it is a part of it. */
  identifier(name: string): SqlFragment;
  /** The fragments (or values) one after the other, with the separator in between: `` sql.join(parts, sql` and `) ``. */
  join(fragments: readonly unknown[], separator: SqlFragment): SqlFragment;
  /** Nothing, for a part that is not always there. */
  empty(): SqlFragment;
}

/** Writes SQL for `ctx.db.raw`. */
export const sql: SqlTag = Object.assign(tag, { raw, identifier, join, empty });

/** Postgres cuts names longer than this, and then means another. */
const MAX_NAME_BYTES = 63;

function tag(strings: TemplateStringsArray, ...values: readonly unknown[]): SqlFragment {
  if (!Array.isArray(strings) || !Array.isArray(strings.raw)) {
    throw invalid('sql is a template tag: write sql`select …` without parentheses, so that values stay values');
  }
  // A template with an escape JavaScript does not know has no text there.
  if (strings.some((text) => text === undefined)) {
    throw invalid('sql`…` has a backslash JavaScript reads as an unfinished escape; write it twice: \\\\');
  }
  return assemble(strings, values);
}

function raw(text: string): SqlFragment {
  if (typeof text !== 'string') throw invalid('sql.raw() takes text');
  return new SqlFragment([text], []);
}

function identifier(name: string): SqlFragment {
  if (typeof name !== 'string' || name === '') throw invalid('sql.identifier() takes a name');
  if (name.includes('\u0000') || new TextEncoder().encode(name).length > MAX_NAME_BYTES) {
    throw invalid(`sql.identifier(): a name in Postgres has at most ${MAX_NAME_BYTES} bytes, and none of them is zero`);
  }
  return new SqlFragment([`"${name.replaceAll('"', '""')}"`], []);
}

function join(fragments: readonly unknown[], separator: SqlFragment): SqlFragment {
  if (!Array.isArray(fragments)) throw invalid('sql.join() takes an array of fragments');
  // Left out means nothing in between, as in Drizzle.
  if (separator !== undefined && !isSqlFragment(separator)) {
    throw invalid('sql.join() takes its separator as SQL: sql.join(parts, sql`, `)');
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
