/**
 * What is wrong with a schema, said at load: each problem names its place and what to write instead, and all of them
 * are reported together, so that one run of the program shows everything there is to repair.
 */

/** One thing that cannot stay as it is. */
export interface SchemaProblem {
  /** Where: `messages.address.city`, or `messages.by_channel` for an index. */
  readonly path: string;
  /** What is wrong and what to do, as the rest of a sentence after the path. */
  readonly message: string;
}

/** A schema that was refused when it was loaded. */
export class SchemaError extends Error {
  override readonly name = 'SchemaError';

  constructor(readonly problems: readonly SchemaProblem[]) {
    super(
      problems.length === 1
        ? `The schema cannot be loaded. ${problems.map(sentence).join('')}`
        : `The schema cannot be loaded:\n${problems.map((problem) => `  - ${sentence(problem)}`).join('\n')}`,
    );
  }
}

function sentence(problem: SchemaProblem): string {
  return `${problem.path}: ${problem.message}.`;
}
