/**
 * The canonical text of a value: two values with the same text have the same content. A value has no text if its content
 * cannot be read completely.
 *
 * Plain data have a text: primitives, and objects and arrays of plain data. Members keep their order, which code can
 * observe, and a repeated object is written as its number, which also handles cycles. Values that may contain more than
 * their members have none: class instances, functions, dates, proxies, accessors, symbols. No user code is run.
 *
 * Objects with equal texts still differ by identity: `===`, a `WeakMap`, a private field added from outside, an internal
 * slot behind another prototype. A deep copy shares none of these, so code that must not find the caller gets a copy.
 */

import { createHash } from 'node:crypto';
import { types } from 'node:util';

/** Deeper than any document. */
export const MAX_DEPTH = 64;

/** Longer texts are replaced by their hash, because one is kept for each subscriber. */
const HASH_ABOVE = 256;

/** Longer texts, without what is between values and keys, are not computed at all. */
export const MAX_LENGTH = 65_536;

/** The canonical text of `value`, or `null` if it has none. */
export function canonicalText(value: unknown): string | null {
  const text = new CanonicalWriter().text(value, 0);
  return text === null ? null : hashIfLong(text);
}

/** A deep copy of `value`, which has a canonical text: the copy has the same one, and no other code refers to it. */
export function deepCopy(value: unknown): unknown {
  return copyValue(value, new Map());
}

function copyValue(value: unknown, made: Map<object, object>): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const known = made.get(value);
  if (known !== undefined) return known;
  const copy: object = Array.isArray(value) ? [] : {};
  made.set(value, copy);
  for (const [key, member] of Object.entries(value)) {
    const property = { value: copyValue(member, made), writable: true, enumerable: true, configurable: true };
    Object.defineProperty(copy, key, property);
  }
  return Object.isFrozen(value) ? Object.freeze(copy) : copy;
}

/** `text`, or its hash if it is long. No canonical text has the form of a hash. */
export function hashIfLong(text: string): string {
  return text.length <= HASH_ABOVE ? text : `sha256:${createHash('sha256').update(text).digest('base64url')}`;
}

class CanonicalWriter {
  readonly #visited = new Map<object, number>();
  #length = 0;

  text(value: unknown, depth: number): string | null {
    if (typeof value === 'object' && value !== null) return this.#object(value, depth);
    if (typeof value === 'string' && value.length > MAX_LENGTH) return null;
    const text = primitive(value);
    this.#length += text?.length ?? 0;
    return this.#length > MAX_LENGTH ? null : text;
  }

  #object(value: object, depth: number): string | null {
    const number = this.#visited.get(value);
    if (number !== undefined) return `&${number}`;
    if (depth >= MAX_DEPTH || types.isProxy(value)) return null;
    this.#visited.set(value, this.#visited.size);
    const isFrozen = Object.isFrozen(value);
    if (!isFrozen && !Object.isExtensible(value)) return null;
    const text = Array.isArray(value) ? this.#array(value, isFrozen, depth) : this.#plain(value, isFrozen, depth);
    return isFrozen && text !== null ? `!${text}` : text;
  }

  #array(value: readonly unknown[], isFrozen: boolean, depth: number): string | null {
    // The keys of an array without holes or anything else are its indexes and `length`.
    if (Object.getPrototypeOf(value) !== Array.prototype || Reflect.ownKeys(value).length !== value.length + 1) {
      return null;
    }
    const texts: string[] = [];
    for (let index = 0; index < value.length; index++) {
      const text = this.#member(value, String(index), isFrozen, depth);
      if (text === null) return null;
      texts.push(text);
    }
    return `[${texts.join()}]`;
  }

  #plain(value: object, isFrozen: boolean, depth: number): string | null {
    // A promise is no plain data under any prototype. Only before Node 24, it has symbols that say so.
    if (Object.getPrototypeOf(value) !== Object.prototype || types.isPromise(value)) return null;
    const texts: string[] = [];
    for (const key of Reflect.ownKeys(value)) {
      if (typeof key === 'symbol') return null;
      this.#length += key.length;
      const text = this.#member(value, key, isFrozen, depth);
      if (text === null) return null;
      texts.push(`${JSON.stringify(key)}:${text}`);
    }
    return `{${texts.join()}}`;
  }

  #member(object: object, key: string, isFrozen: boolean, depth: number): string | null {
    const property = Object.getOwnPropertyDescriptor(object, key);
    if (property === undefined || !('value' in property) || property.enumerable !== true) return null;
    if (!isFrozen && !(property.writable === true && property.configurable === true)) return null;
    return this.text(property.value, depth + 1);
  }
}

/** Values that JSON cannot represent get texts that JSON does not use. The text `undefined` stands for a missing key. */
function primitive(value: unknown): string | null {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'number':
      return Object.is(value, -0) ? '-0' : String(value);
    case 'bigint':
      return `${value}n`;
    case 'boolean':
      return String(value);
    case 'undefined':
      return 'void';
    case 'object':
      return 'null';
    default:
      return null;
  }
}
