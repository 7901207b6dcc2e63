/**
 * The problems of a schema, reported at load: each one has a path and a remedy. All problems are reported together, so
 * that one run of the program shows everything to fix.
 */

/** One problem of a schema. */
export interface SchemaProblem {
  /** The field or index: `messages.address.city`, `messages.by_channel`. */
  readonly path: string;
  /** The problem and its remedy, as the rest of a sentence after the path. */
  readonly message: string;
}

/** Thrown when an invalid schema is loaded. */
export class SchemaError extends Error {
  /** Distinguishes this error, also across copies of the package. */
  override readonly name = 'SchemaError';

  constructor(
    /** All problems of the schema, in the order of its tables. */
    readonly problems: readonly SchemaProblem[],
  ) {
    super(
      problems.length === 1
        ? `The schema cannot be loaded. ${problems.map(sentence).join('')}`
        : `The schema cannot be loaded:\n${problems.map((problem) => `  - ${sentence(problem)}`).join('\n')}`,
    );
  }
}

function sentence({ path, message }: SchemaProblem): string {
  return printable(`${path === '' ? '(a table without a name)' : path}: ${message}.`);
}

/** The text with escapes in place of characters that a terminal does not show as they are, or obeys. */
export function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}
