/**
 * Checks the options of this package when the program is loaded: an option that is misspelt or of another type is an
 * error, and never a weaker check of the callers. `@avvos/convoy` has such a check of its own, which it does not export.
 */

import { inspect } from 'node:util';

/** What an option must be. */
export interface OptionRule {
  /** Completes the sentence "The option must be". */
  readonly must: string;
  /** Whether a value is so. */
  readonly holds: (value: unknown) => boolean;
  /** An option without this may be undefined. */
  readonly isRequired?: boolean;
  /** An environment variable that is not set is a likely cause of a value that is undefined or empty. */
  readonly isFromEnvironment?: boolean;
  /** The value must not stand in a message. */
  readonly isSecret?: boolean;
}

/** A rule for each of the options. */
export type OptionRules<Options> = Readonly<Record<keyof Options, OptionRule>>;

const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';
const isTextList = (value: unknown): boolean => Array.isArray(value) && value.every(isText);

export const BOOLEAN: OptionRule = { must: 'true or false', holds: (value) => typeof value === 'boolean' };
export const FUNCTION: OptionRule = { must: 'a function', holds: (value) => typeof value === 'function' };
/** For an option with a check of its own, which also finds values of other types. */
export const CHECKED_LATER: OptionRule = { must: 'anything', holds: () => true };

/** A text that is not empty. */
export function textLike(example: string): OptionRule {
  return { must: `a text that is not empty, as in \`${example}\``, holds: isText, isFromEnvironment: true };
}

/** A list of texts, which may be empty. */
export function listLike(example: string): OptionRule {
  return { must: `a list of texts, as in \`${example}\``, holds: isTextList };
}

/** A list of texts that is not empty. */
export function filledListLike(example: string): OptionRule {
  const holds = (value: unknown) => isTextList(value) && (value as readonly unknown[]).length > 0;
  return { must: `a list of texts that is not empty, as in \`${example}\``, holds };
}

/** The rule for an option that must be there. */
export function required(rule: OptionRule): OptionRule {
  return { ...rule, isRequired: true };
}

/**
 * Throws a `TypeError` unless `given` is an object whose members are all options, and are as the rules say. `subject`
 * begins the message, such as `jwt({ … })`.
 */
export function checkOptions<Options>(subject: string, given: unknown, rules: OptionRules<Options>): void {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new TypeError(`${subject} takes an object of options, not ${kindOf(given)}.`);
  }
  const known = Object.keys(rules);
  const unknown = Object.keys(given).find((key) => !known.includes(key));
  if (unknown !== undefined) {
    const close = nearest(unknown, known);
    const hint = close === null ? `The options are ${known.join(', ')}.` : `Did you mean ${close}?`;
    throw new TypeError(`${subject} has no option ${JSON.stringify(unknown)}. ${hint}`);
  }
  checkTypes(given, rules);
}

/** Throws a `TypeError` unless the members of `given` that have rules are as these say. */
export function checkTypes<Options>(given: object, rules: OptionRules<Options>): void {
  for (const [name, rule] of Object.entries<OptionRule>(rules)) {
    const value = (given as Readonly<Record<string, unknown>>)[name];
    if (value === undefined ? !rule.isRequired : rule.holds(value)) continue;
    const what = rule.isSecret ? kindOf(value) : shown(value);
    const problem = `\`${name}\` must be ${rule.must}; ${what} was given.`;
    const isUnset = rule.isFromEnvironment === true && (value === undefined || value === '');
    throw new TypeError(isUnset ? `${problem} Is an environment variable unset?` : problem);
  }
}

/** A value in an error message. Of objects only the kind, because their members may be secret. */
export function shown(value: unknown): string {
  const isPlain = Array.isArray(value) || ['string', 'number', 'bigint', 'boolean'].includes(typeof value);
  return isPlain ? inspect(value, { depth: 0, maxArrayLength: 10, maxStringLength: 80 }) : kindOf(value);
}

/** The kind of a value, in an error message. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return 'an array';
  if (value instanceof Promise) return 'a promise';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** The name with the smallest edit distance from `name`; `null` if none is close enough. */
export function nearest(name: string, names: readonly string[]): string | null {
  const limit = Math.max(2, Math.floor(name.length / 3));
  const ranked = names.map((other) => ({ other, distance: editDistance(name.toLowerCase(), other.toLowerCase()) }));
  const [best] = ranked.filter(({ distance }) => distance <= limit).sort((one, two) => one.distance - two.distance);
  return best?.other ?? null;
}

/** How many characters have to be inserted, deleted or replaced. */
function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let i = 0; i < one.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < other.length; j++) {
      const replaced = (row[j] ?? 0) + (one[i] === other[j] ? 0 : 1);
      next.push(Math.min((row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1, replaced));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
