/**
 * A value as text, so that two values with one text cannot be told apart by what they hold; or nothing, where no text
 * could promise that.
 *
 * Plain data have one: primitives, and objects and arrays of plain data. Members keep their order, which code can see,
 * and an object that is met again is named by its number, which also ends circles. Whatever may hold more than its
 * members show has none: classes, functions, dates, proxies, accessors, symbols. Nothing of the user's is run to find
 * out.
 *
 * Who they are still tells two objects apart: `===`, a `WeakMap`, a private field put on from outside, an internal slot
 * under another prototype. A copy of one has nothing of that, so only copies are given to those who must not know.
 */

import { createHash } from 'node:crypto';
import { types } from 'node:util';

/** Deeper than any document is. */
const MAX_DEPTH = 64;

/** What is longer than this is said by its hash: one is kept for each subscriber. */
const LONG = 256;

/** What is longer than this is not worth a hash either. */
const TOO_LONG = 65_536;

/** The text of `value`, or `null` where it has none. */
export function canonicalText(value: unknown): string | null {
  const text = new Reading().text(value, 0);
  return text === null ? null : shortened(text);
}

/** A copy of `value`, which has a text: it has the same one, and is known to nobody. */
export function copyOf(value: unknown): unknown {
  return copied(value, new Map());
}

function copied(value: unknown, made: Map<object, object>): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const known = made.get(value);
  if (known !== undefined) return known;
  const copy: object = Array.isArray(value) ? [] : {};
  made.set(value, copy);
  for (const [key, member] of Object.entries(value)) {
    const property = { value: copied(member, made), writable: true, enumerable: true, configurable: true };
    Object.defineProperty(copy, key, property);
  }
  return Object.isFrozen(value) ? Object.freeze(copy) : copy;
}

/** `text`, or its hash, which no text looks like. */
export function shortened(text: string): string {
  return text.length <= LONG ? text : `sha256:${createHash('sha256').update(text).digest('base64url')}`;
}

class Reading {
  readonly #met = new Map<object, number>();
  #length = 0;

  text(value: unknown, depth: number): string | null {
    if (typeof value === 'object' && value !== null) return this.#object(value, depth);
    if (typeof value === 'string' && value.length > TOO_LONG) return null;
    const text = primitive(value);
    this.#length += text?.length ?? 0;
    return this.#length > TOO_LONG ? null : text;
  }

  #object(value: object, depth: number): string | null {
    const number = this.#met.get(value);
    if (number !== undefined) return `&${number}`;
    if (depth >= MAX_DEPTH || types.isProxy(value)) return null;
    this.#met.set(value, this.#met.size);
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
    if (Object.getPrototypeOf(value) !== Object.prototype) return null;
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

/** What JSON has no word for gets one that JSON does not use. `undefined` is kept for what is not there at all. */
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
