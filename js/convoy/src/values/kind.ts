/** What a value is, for checks of options and for their messages. */

/** Whether `value` is an object literal, a module namespace, or an object without a prototype; also of another realm. */
export function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** A short text for any value: `undefined`, `5`, `"text"`, `an array`, `an instance of Map`. */
export function describeGiven(value: unknown): string {
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value !== 'object' || value === null) return String(value);
  if (Array.isArray(value)) return 'an array';
  if (isPlainObject(value)) return 'an object';
  const made: unknown = value.constructor;
  return typeof made === 'function' && made.name !== '' ? `an instance of ${made.name}` : 'an instance of a class';
}

/** Whether `value` is an object, and no array. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
