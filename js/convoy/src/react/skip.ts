/** The value that stands where arguments would be and means "do not ask yet", typed so that nothing else passes. */

export const skipToken: unique symbol = Symbol.for('convoy.skip');

/** `skipToken`, or its short form. */
export type SkipToken = typeof skipToken;

export function isSkipped(args: unknown): args is SkipToken | 'skip' {
  return args === skipToken || args === 'skip';
}
