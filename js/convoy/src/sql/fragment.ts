/**
 * A fragment of SQL with its values, which are always sent as bound parameters and never become part of the text.
 * Fragments nest; the parameters are numbered when the text of the whole is built.
 */

const BRAND: unique symbol = Symbol.for('convoy.sql');

/** The result of `` sql`…` ``: a statement or a part of one. */
export class SqlFragment {
  /** Identifies a fragment, also across copies of this package. A symbol, so that JSON input cannot forge one. */
  readonly [BRAND] = true;
  /** The texts around the values, one more than there are values. */
  readonly parts: readonly string[];
  /** The values as they were passed, in the order of their parameters. */
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

/** Builds one fragment from texts and the values between them; nested fragments are inlined. */
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
