/** Records of a provider's library as plain data: a user in `ctx.auth` is JSON, so that results can be shared. */

/** `Value` as plain data: dates are milliseconds since 1970. */
export type PlainData<Value> = Value extends Date
  ? number
  : Value extends readonly (infer Element)[]
    ? readonly PlainData<Element>[]
    : Value extends object
      ? { readonly [Key in keyof Value]: PlainData<Value[Key]> }
      : Value;

/** A copy of `value` without members that are undefined. Throws a `TypeError` for what is no JSON and no date. */
export function plainData<Value>(value: Value): PlainData<Value> {
  return copy(value, 'user') as PlainData<Value>;
}

function copy(value: unknown, path: string): unknown {
  if (value instanceof Date) return value.getTime();
  if (Array.isArray(value)) return value.map((each, at) => copy(each, `${path}[${at}]`));
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    return Object.fromEntries(members.map(([key, member]) => [key, copy(member, `${path}.${key}`)]));
  }
  if (value === null || ['string', 'number', 'boolean'].includes(typeof value)) return value;
  throw new TypeError(`${path} is a ${typeof value}. Pass the option \`user\`, and return plain JSON data from it.`);
}
