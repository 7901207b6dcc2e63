/** The value that takes the place of arguments and means "do not run the query yet", with a type of its own. */

export const skipToken: unique symbol = Symbol.for('convoy.skip');

/** `skipToken`, or its short form. */
export type SkipToken = typeof skipToken;

export function isSkipped(args: unknown): args is SkipToken | 'skip' {
  return args === skipToken || args === 'skip';
}
