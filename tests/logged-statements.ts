/** The statements in the log of a Postgres that logs all (`log_statement`), and what of them is outside of quotes. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type pg from 'pg';

/**
 * The texts of all statements that the server has been sent so far, without the values that were bound. One that it could
 * not parse is logged with its error.
 */
export async function loggedStatements(psql: pg.Client): Promise<string[]> {
  const { rows } = await psql.query<{ data_directory: string }>('show data_directory');
  const log = await readFile(path.join(rows[0]?.data_directory ?? '', '..', 'postgres.log'), 'utf8');
  // An entry goes on in lines that begin with a tab.
  const entries = log.replaceAll('\n\t', '\n').split(/^\d{4}-\d\d-\d\d [\d:.]+ \w+ \[\d+\] /m);
  return entries.flatMap(
    (entry) => /^(?:LOG: {2}(?:statement|execute [^:]*): |STATEMENT: {2})([\s\S]*?)\n?$/.exec(entry)?.[1] ?? [],
  );
}

/** Literals, quoted names, comments and dollar quotes, which each end where they have begun. */
const QUOTED = [/[eE]'(?:[^'\\]|\\[\s\S]|'')*'/y, /'(?:[^']|'')*'/y, /"(?:[^"]|"")*"/y, /\$(\w*)\$[\s\S]*?\$\1\$/y];

/** A statement without what is in quotes, as Postgres reads it; a comment is outside of them. */
export function outsideOfQuotes(statement: string): string {
  let [outside, at] = ['', 0];
  while (at < statement.length) {
    // A letter before it would make it another word.
    const previous = statement[at - 1] ?? '';
    const end = QUOTED.map((pattern) => {
      pattern.lastIndex = at;
      if (pattern === QUOTED[0] && /\w/.test(previous)) return 0;
      return pattern.test(statement) ? pattern.lastIndex : 0;
    }).find((found) => found > 0);
    if (end === undefined) outside += statement[at++];
    else {
      outside += ' ';
      at = end;
    }
  }
  return outside;
}
