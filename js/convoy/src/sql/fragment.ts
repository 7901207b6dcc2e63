/**
 * A piece of SQL and the values in it, kept apart until Postgres puts them together: no value ever becomes text of the
 * statement. Fragments nest; the numbers of their values are given when the whole is asked for its text.
 */

const BRAND: unique symbol = Symbol.for('convoy.sql');

/** What `` sql`…` `` makes: a statement or a part of one. */
export class SqlFragment {
  /** Says what this is, also to another copy of this package; a symbol, so that no JSON can pretend to be one. */
  readonly [BRAND] = true;
  /** The texts around the values, one more than there are values. */
  readonly parts: readonly string[];
  /** The values as they were given, in the order of their numbers. */
  readonly values: readonly unknown[];

  constructor(parts: readonly string[], values: readonly unknown[]) {
    this.parts = parts;
    this.values = values;
  }

  /** The statement's text, its values as `$1`, `$2` and so on. */
  get text(): string {
    return this.parts.reduce((text, part, place) => `${text}$${place}${part}`);
  }
}

/** True for a fragment of any copy of this package. */
export function isSqlFragment(value: unknown): value is SqlFragment {
  return typeof value === 'object' && value !== null && (value as { [BRAND]?: unknown })[BRAND] === true;
}

/** One fragment of texts and what stands between them; fragments among the values become part of the whole. */
export function assemble(texts: readonly string[], between: readonly unknown[]): SqlFragment {
  const parts = [texts[0] ?? ''];
  const values: unknown[] = [];
  const continueWith = (text: string): void => {
    parts.push(`${parts.pop() ?? ''}${text}`);
  };
  between.forEach((value, place) => {
    if (isSqlFragment(value)) {
      const [first = '', ...rest] = value.parts;
      continueWith(first);
      parts.push(...rest);
      values.push(...value.values);
    } else {
      values.push(value);
      parts.push('');
    }
    continueWith(texts[place + 1] ?? '');
  });
  return new SqlFragment(parts, values);
}
