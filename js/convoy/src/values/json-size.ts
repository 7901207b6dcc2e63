/**
 * How long a value's JSON text would be, without making it, and without looking further than a limit: where memory is
 * short, making a text that does not fit ends the process.
 */

import { MAX_DEPTH } from './json.js';

/** What was measured. */
export interface JsonSize {
  /** In bytes of UTF-8; `Infinity` where it is more than the limit. */
  readonly size: number;
  /** Whether the value is plain data. Code of its own, a getter, a `toJSON` or a proxy, may give another value next time. */
  readonly steady: boolean;
}

export interface Measuring {
  /** Where the measuring ends. */
  readonly most: number;
  /** The exact size, or, quicker, a number that it does not exceed. */
  readonly exact?: boolean;
  /** Tells proxies, which only Node can. */
  readonly isProxy?: (value: object) => boolean;
}

/** How long the JSON text of `value` is. */
export function measureJson(value: unknown, { most, exact = false, isProxy = noProxy }: Measuring): JsonSize {
  // `\u0000` is the longest that one unit can become.
  const meter = new Meter(most, exact ? exactly : (text) => 2 + 6 * text.length, isProxy);
  return meter.measure(value);
}

/** The bytes of the JSON text of `value` in UTF-8; `Infinity` where these are more than `most`. */
export function jsonSize(value: unknown, most: number): number {
  return measureJson(value, { most, exact: true }).size;
}

/** A number that the bytes of the JSON text of `value` do not exceed; `Infinity` where it is more than `most`. Quicker. */
export function jsonSizeAtMost(value: unknown, most: number): number {
  return measureJson(value, { most }).size;
}

const noProxy = () => false;

class Meter {
  readonly #most: number;
  readonly #sizeOf: (text: string, most: number) => number;
  readonly #isProxy: (value: object) => boolean;
  #size = 0;
  #steady = true;
  /** Too long, or nested too deep to go on: what is so deep is refused for that. */
  #over = false;
  #deep = false;

  constructor(most: number, sizeOf: (text: string, most: number) => number, isProxy: (value: object) => boolean) {
    this.#most = most;
    this.#sizeOf = sizeOf;
    this.#isProxy = isProxy;
  }

  measure(value: unknown): JsonSize {
    this.#add(value, 0);
    return { size: this.#over ? Number.POSITIVE_INFINITY : this.#size, steady: this.#steady };
  }

  get #isDone(): boolean {
    return this.#over || this.#deep;
  }

  #count(bytes: number): void {
    this.#size += bytes;
    if (this.#size > this.#most) this.#over = true;
  }

  #text(text: string): void {
    this.#count(this.#sizeOf(text, this.#most - this.#size));
  }

  #add(value: unknown, depth: number): void {
    if (typeof value === 'string') this.#text(value);
    else if (typeof value === 'number') this.#count(String(value).length);
    else if (typeof value === 'object' && value !== null) this.#addObject(value, depth);
    else this.#count(value === false ? 5 : 4);
  }

  #addObject(value: object, depth: number): void {
    if (depth > MAX_DEPTH) {
      this.#deep = true;
      return;
    }
    if (ArrayBuffer.isView(value) && this.#isOverWith(value)) return;
    if (this.#isProxy(value)) this.#steady = false;
    const { toJSON } = value as { readonly toJSON?: unknown };
    if (typeof toJSON === 'function') {
      if (toJSON !== Date.prototype.toJSON) this.#steady = false;
      this.#add(toJSON.call(value), depth + 1);
    } else if (Array.isArray(value)) {
      this.#count(2 + Math.max(0, value.length - 1));
      for (let at = 0; at < value.length && !this.#isDone; at++) this.#add(this.#member(value, at), depth + 1);
    } else this.#addKeys(value as Record<string, unknown>, depth);
  }

  /** A member of an object or an array, which is unsteady where code gives it. */
  #member(value: object, key: string | number): unknown {
    const described = Object.getOwnPropertyDescriptor(value, key);
    if (described !== undefined && described.get === undefined) return described.value;
    this.#steady &&= described === undefined;
    return (value as Record<string | number, unknown>)[key];
  }

  /** Whether there are too many elements in it whatever they are; to make their text, or to look at each, takes memory. */
  #isOverWith(view: ArrayBufferView): boolean {
    const { BYTES_PER_ELEMENT: each = Number.POSITIVE_INFINITY } = view as { readonly BYTES_PER_ELEMENT?: number };
    // A digit and a comma.
    if (this.#size + (view.byteLength / each) * 2 > this.#most) this.#over = true;
    return this.#over;
  }

  #addKeys(value: Record<string, unknown>, depth: number): void {
    this.#count(2);
    let first = true;
    for (const key of Object.keys(value)) {
      const inner = this.#member(value, key);
      if (inner === undefined || typeof inner === 'function' || typeof inner === 'symbol') continue;
      this.#count(first ? 1 : 2);
      first = false;
      this.#text(key);
      this.#add(inner, depth + 1);
      if (this.#isDone) return;
    }
  }
}

/** A long text is not looked through where its length says enough: that alone would take memory. */
function exactly(text: string, most: number): number {
  let size = 2 + text.length;
  for (let at = 0; at < text.length && size <= most; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x20) size += SHORT_ESCAPES.includes(unit) ? 1 : 5;
    else if (unit === 0x22 || unit === 0x5c) size += 1;
    else if (unit >= 0xd800 && unit <= 0xdfff) size += sizeOfSurrogate(text, at) - 1;
    else if (unit >= 0x80) size += unit < 0x800 ? 1 : 2;
  }
  return size;
}

/** `\b`, `\t`, `\n`, `\f` and `\r`. */
const SHORT_ESCAPES = [8, 9, 10, 12, 13];

/** Half of the four bytes of a pair; a half that stands alone is said as `\ud800`. */
function sizeOfSurrogate(text: string, at: number): number {
  const isHigh = text.charCodeAt(at) < 0xdc00;
  const other = text.charCodeAt(isHigh ? at + 1 : at - 1);
  const isPair = isHigh ? other >= 0xdc00 && other <= 0xdfff : other >= 0xd800 && other < 0xdc00;
  return isPair ? 2 : 6;
}

/**
 * A copy of `value` in plain data, for which its getters and `toJSON` were run once. Not further than `most` members and
 * units of text: `undefined` then.
 */
export function steadyCopy(value: unknown, most: number): { readonly copy: unknown } | undefined {
  let left = most;
  const copied = (inner: unknown, key: string, depth: number): unknown => {
    left -= typeof inner === 'string' ? inner.length + 1 : 1;
    if (left < 0) throw TOO_MUCH;
    // What nests so deep is refused for that.
    if (typeof inner !== 'object' || inner === null || depth > MAX_DEPTH) return inner;
    const { toJSON } = inner as { readonly toJSON?: unknown };
    if (typeof toJSON === 'function') return copied(toJSON.call(inner, key), key, depth + 1);
    if (Array.isArray(inner)) {
      left -= inner.length;
      if (left < 0) throw TOO_MUCH;
      return Array.from(inner, (member, at) => copied(member, String(at), depth + 1));
    }
    const copy: Record<string, unknown> = Object.create(null);
    for (const member of Object.keys(inner)) {
      copy[member] = copied((inner as Record<string, unknown>)[member], member, depth + 1);
    }
    return copy;
  };
  try {
    return { copy: copied(value, '', 0) };
  } catch (error) {
    if (error === TOO_MUCH) return undefined;
    throw error;
  }
}

const TOO_MUCH = new RangeError('more than the limit');
