/** Which live queries a write to a table runs again, from what each query depends on. Pure. */
import { count } from '../count.js';
import { describeAdvice } from './describe-runs.js';
import type { LiveQueryOverview, RunAdvice } from './overview.js';

/** A query that was run, with the number of live queries that it stands for. */
export interface CheckedQuery extends Pick<LiveQueryOverview, 'function' | 'args' | 'dependsOn'> {
  /** Whether the function takes an input: then each further input is a further live query. */
  readonly takesInput: boolean;
}

/** What a write to one table costs. */
export interface TableFanOut {
  /** The table in Postgres; `null` for any. */
  readonly table: string | null;
  /** Live queries that every write to the table runs again. */
  readonly always: number;
  /** Further live queries that a write may run again, by the document. */
  readonly sometimes: number;
  /** Functions with an input that every write runs again, so that `always` grows with the inputs in use. */
  readonly growing: readonly string[];
}

/** A query whose read another index would narrow. */
export interface MissingIndex {
  readonly function: string;
  readonly advice: RunAdvice;
}

export interface LiveFindings {
  /** Functions that read a whole table, with the table, `null` for any. */
  readonly wholeReads: readonly { readonly function: string; readonly table: string | null }[];
  readonly fanOut: readonly TableFanOut[];
  readonly missingIndexes: readonly MissingIndex[];
}

/** What the dependences of these queries mean. */
export function findingsOf(queries: readonly CheckedQuery[]): LiveFindings {
  const wholeReads = unique(
    queries.flatMap((query) =>
      query.dependsOn.filter(({ whole }) => whole).map(({ table }) => ({ function: query.function, table })),
    ),
  );
  const missingIndexes = unique(
    queries.flatMap((query) =>
      query.dependsOn.flatMap(({ advice }) => (advice === undefined ? [] : [{ function: query.function, advice }])),
    ),
  );
  const tables = unique(queries.flatMap((query) => query.dependsOn.map(({ table }) => table)));
  const fanOut = tables.map((table) => fanOutOf(table, queries));
  return {
    wholeReads,
    missingIndexes,
    fanOut: fanOut.sort((a, b) => b.always - a.always || b.sometimes - a.sometimes),
  };
}

function fanOutOf(table: string | null, queries: readonly CheckedQuery[]): TableFanOut {
  const always = queries.filter((query) => isHitByAll(query, table));
  const sometimes = queries.filter(
    (query) => !isHitByAll(query, table) && query.dependsOn.some((each) => each.table === table),
  );
  const growing = unique(always.filter(({ takesInput }) => takesInput).map((query) => query.function));
  return { table, always: always.length, sometimes: sometimes.length, growing };
}

/** Whether every write to this table runs the query again. */
function isHitByAll({ dependsOn }: CheckedQuery, table: string | null): boolean {
  return dependsOn.some((each) => each.whole && (each.table === table || each.table === null));
}

/** The greatest number of live queries that one write is certain to run again. */
export function greatestFanOut({ fanOut }: LiveFindings): number {
  return Math.max(0, ...fanOut.map(({ always }) => always));
}

/** The findings as lines of text. */
export function describeFindings({ wholeReads, fanOut, missingIndexes }: LiveFindings): string[] {
  const lines = wholeReads.map(
    ({ function: name, table }) =>
      `${name} reads ${table === null ? 'tables that are unknown' : `all of ${table}`}, so every write there runs it again`,
  );
  for (const { function: name, advice } of missingIndexes) {
    lines.push(name, ...describeAdvice(advice).map((line) => `  ${line}`));
  }
  for (const { table, always, sometimes, growing } of fanOut) {
    const queries = count(always, 'live query', 'live queries');
    const more = sometimes === 0 ? '' : `, and up to ${sometimes} more by what it changes`;
    lines.push(`a write to ${table ?? 'any other table'} runs ${queries} again${more}`);
    if (growing.length > 0) lines.push(`  with each further input of ${growing.join(', ')}, one more`);
  }
  return lines;
}

function unique<T>(values: readonly T[]): T[] {
  const seen = new Map(values.map((value) => [JSON.stringify(value), value]));
  return [...seen.values()];
}
