/** From what `ctx.db.raw` takes to a statement and the texts of its values. */

import { ConvoyError } from '../values/errors.js';
import { storageProblem } from '../values/json.js';
import { type DrizzleSql, fromDrizzle, isDrizzleSql } from './drizzle.js';
import { NoTextForm, textForm } from './text-form.js';

/** A statement with `$1`, `$2`, … and the values they stand for, as `` sql`…` `` makes it and `pg` takes it. */
export interface SqlStatement {
  readonly text: string;
  readonly values?: readonly unknown[] | undefined;
}

/** What `ctx.db.raw` takes: our `` sql`…` ``, `{ text, values }`, or a `sql` object of Drizzle; never a bare string. */
export type RawQuery = SqlStatement | DrizzleSql;

/** A statement as it crosses to the engine: values in Postgres' text form. */
export interface BoundStatement {
  readonly text: string;
  readonly values: readonly (string | null)[];
}

/** The statement `query` stands for, or an `INVALID_ARGS` that says what to write. */
export function bindStatement(query: unknown): BoundStatement {
  const { text, values } = statementIn(query);
  if (text.trim() === '') throw invalid('raw() was given an empty statement');
  const problem = storageProblem(text);
  if (problem !== null) throw invalid(`raw(): the statement ${problem.reason}`);
  return {
    text,
    // Not `map`, which would step over holes.
    values: Array.from(values, (value, place) => {
      try {
        return textForm(value);
      } catch (error) {
        if (!(error instanceof NoTextForm)) throw error;
        throw invalid(`raw(): the value of $${place + 1} ${error.message}`);
      }
    }),
  };
}

function statementIn(query: unknown): { readonly text: string; readonly values: readonly unknown[] } {
  if (typeof query === 'string') {
    throw invalid(
      "raw() takes no bare string, in which values and SQL cannot be told apart; write sql`…`, of '@avvos/convoy/sql'",
    );
  }
  if (isDrizzleSql(query)) return drizzleStatement(query);
  const { text, values = [] } = (typeof query === 'object' && query !== null ? query : {}) as Record<string, unknown>;
  if (typeof text !== 'string' || !Array.isArray(values)) {
    throw invalid("raw() takes sql`…`, of '@avvos/convoy/sql', or { text: 'select … $1', values: […] }");
  }
  return { text, values };
}

function drizzleStatement(query: DrizzleSql): { readonly text: string; readonly values: readonly unknown[] } {
  try {
    return fromDrizzle(query);
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/\.$/, '') : String(error);
    throw invalid(`raw(): this query of Drizzle cannot be used here: ${reason}`);
  }
}

function invalid(message: string): ConvoyError {
  return new ConvoyError('INVALID_ARGS', `${message}.`);
}
