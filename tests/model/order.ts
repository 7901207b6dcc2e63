/**
 * The documented order and comparison of stored values, in the simplest form: a total order by value and type, never by
 * text, and text by code point.
 *
 * `Rules` are the parts of it that a negative control replaces with wrong ones.
 */
import { isDeepStrictEqual } from 'node:util';

/** The type by which a field's values compare; `json` is a field of several types. */
export type Kind = 'text' | 'number' | 'boolean' | 'json';

export type Stored = Readonly<Record<string, unknown>>;

export interface Rules {
  text(one: string, other: string): number;
  number(one: number, other: number): number;
  /** The position of values that are missing, null or of a foreign type, in ascending order. */
  readonly missing: 'first' | 'last';
  /** Whether equal documents are ordered by creation time before their ids. */
  readonly tiesByCreation: boolean;
  /** Whether `gte` and `lte` include the bound itself. */
  readonly inclusive: boolean;
}

export const DOCUMENTED: Rules = {
  text: (one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)),
  number: (one, other) => one - other,
  missing: 'last',
  tiesByCreation: true,
  inclusive: true,
};

/** The stored value at a path, through objects only. */
export function valueAt(data: unknown, path: string): unknown {
  let value = data;
  for (const key of path.split('.')) {
    const inside = typeof value === 'object' && value !== null && !Array.isArray(value) && Object.hasOwn(value, key);
    value = inside ? (value as Stored)[key] : undefined;
  }
  return value;
}

/** Null equals a missing value too; zero has no sign. */
export function equals(value: unknown, expected: unknown): boolean {
  if (expected === null) return value === undefined || value === null;
  return value === expected || isDeepStrictEqual(value, expected);
}

const RANKS = ['boolean', 'number', 'string', 'array', 'object'];

function typeOf(value: unknown): string {
  return Array.isArray(value) ? 'array' : typeof value;
}

/** Negative where `value` is before `bound`; null where a range cannot compare them. */
export function compareToBound(rules: Rules, value: unknown, bound: unknown): number | null {
  return value === null || typeof value !== typeof bound ? null : compareAlike(rules, value, bound);
}

/** Compares two stored values of a field, in ascending order. */
export function compareField(rules: Rules, kind: Kind, one: unknown, other: unknown): number {
  const [first, second] = [rankIn(kind, one), rankIn(kind, other)];
  if (first === null || second === null) {
    const ascending = Number(first === null) - Number(second === null);
    return rules.missing === 'last' ? ascending : -ascending;
  }
  return first - second || compareAlike(rules, one, other);
}

/** The position of a value's type in the order; null where the field does not have that type. */
function rankIn(kind: Kind, value: unknown): number | null {
  if (value === undefined || value === null) return null;
  const type = typeOf(value);
  if (kind === 'json') return RANKS.indexOf(type);
  return type === (kind === 'text' ? 'string' : kind) ? 0 : null;
}

function compareAlike(rules: Rules, one: unknown, other: unknown): number {
  switch (typeOf(one)) {
    case 'boolean':
      return Number(one) - Number(other);
    case 'number':
      return rules.number(one as number, other as number);
    case 'string':
      return rules.text(one as string, other as string);
    default:
      return rules.text(jsonbText(one), jsonbText(other));
  }
}

/** The text of a jsonb value in Postgres, shorter keys first; numbers must be small enough to need no exponent. */
function jsonbText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(jsonbText).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const bytes = (key: string): Buffer => Buffer.from(key);
  const keys = Object.keys(value).sort(
    (one, other) => bytes(one).length - bytes(other).length || Buffer.compare(bytes(one), bytes(other)),
  );
  return `{${keys.map((key) => `${JSON.stringify(key)}: ${jsonbText((value as Stored)[key])}`).join(', ')}}`;
}
