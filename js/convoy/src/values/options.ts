/** Checks the members of an object of options, so that a misspelt one is an error and not the default. */

import { describeGiven } from './kind.js';
import { nearest } from './nearest.js';

/**
 * Throws a `TypeError` unless `given` is an object whose members are all among `known`. `subject` begins the message, such
 * as `createConvoy({ … })`.
 */
export function checkMembers(subject: string, given: unknown, known: readonly string[]): void {
  const problem = membersProblem(subject, given, known);
  if (problem !== null) throw new TypeError(problem);
}

/** What is wrong with the members of `given`, as sentences; `null` if nothing is. */
export function membersProblem(subject: string, given: unknown, known: readonly string[]): string | null {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    // A text may be a URL with a password.
    return `${subject} takes an object of options, not ${typeof given === 'string' ? 'a text' : describeGiven(given)}.`;
  }
  const unknown = Object.entries(given).find(([key, value]) => value !== undefined && !known.includes(key))?.[0];
  if (unknown === undefined) return null;
  const close = nearest(unknown, known);
  const hint = close === null ? `The options are ${known.join(', ')}.` : `Did you mean ${close}?`;
  return `${subject} has no option ${JSON.stringify(unknown)}. ${hint}`;
}
