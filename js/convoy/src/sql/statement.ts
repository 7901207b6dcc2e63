/** Converts the input of `ctx.db.raw` to a statement and its values in text form. */

import { ConvoyError } from '../values/errors.js';
import { storageProblem } from '../values/storable-json.js';
import { type DrizzleSql, fromDrizzle, isDrizzleSql } from './drizzle.js';
import { NoTextForm, textForm } from './text-form.js';

/** A statement with the parameters `$1`, `$2`, … and their values, as `` sql`…` `` returns it and `pg` accepts it. */
export interface SqlStatement {
  /** The statement, with `$1`, `$2`, … in place of its values. */
  readonly text: string;
  /** The values, in the order of their numbers. */
  readonly values?: readonly unknown[] | undefined;
}

/** The input of `ctx.db.raw`: `` sql`…` ``, `{ text, values }`, or a `sql` object of Drizzle; never a plain string. */
export type RawQuery = SqlStatement | DrizzleSql;

/** A statement as it is sent to the engine: values in Postgres' text form. */
export interface BoundStatement {
  readonly text: string;
  readonly values: readonly (string | null)[];
}

/** The statement of `query`; throws `INVALID_ARGS` with the accepted forms if it is not one. */
export function bindStatement(query: unknown): BoundStatement {
  const { text, values } = statementIn(query);
  if (text.trim() === '') throw invalid('raw() was given an empty statement');
  const problem = storageProblem(text);
  if (problem !== null) throw invalid(`raw(): the statement ${problem.reason}`);
  return {
    text,
    // Not `map`, which skips holes.
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
      "raw() takes no plain string, since values in it could not be bound; write sql`…`, from '@avvos/convoy/sql'",
    );
  }
  if (isDrizzleSql(query)) return drizzleStatement(query);
  const { text, values = [] } = (typeof query === 'object' && query !== null ? query : {}) as Record<string, unknown>;
  if (typeof text !== 'string' || !Array.isArray(values)) {
    throw invalid("raw() takes sql`…`, from '@avvos/convoy/sql', or { text: 'select … $1', values: […] }");
  }
  return { text, values };
}

function drizzleStatement(query: DrizzleSql): { readonly text: string; readonly values: readonly unknown[] } {
  try {
    return fromDrizzle(query);
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/\.$/, '') : String(error);
    throw invalid(`raw(): this Drizzle query cannot be used here: ${reason}`);
  }
}

function invalid(message: string): ConvoyError {
  return new ConvoyError('INVALID_ARGS', `${message}.`);
}
