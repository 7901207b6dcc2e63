/**
 * How long a value's JSON text would be, without making it, and without looking further than a limit: where memory is
 * short, making a text that does not fit ends the process.
 */

import { MAX_DEPTH } from './json.js';

/** The bytes of the JSON text of `value` in UTF-8; `Infinity` where these are more than `most`. */
export function jsonSize(value: unknown, most: number): number {
  return new Meter(most, exactly).measure(value);
}

/** A number that the bytes of the JSON text of `value` do not exceed; `Infinity` where it is more than `most`. Quicker. */
export function jsonSizeAtMost(value: unknown, most: number): number {
  // `\u0000` is the longest that one unit can become.
  return new Meter(most, (text) => 2 + 6 * text.length).measure(value);
}

class Meter {
  readonly #most: number;
  readonly #sizeOf: (text: string, most: number) => number;
  #size = 0;
  /** Too long, or nested too deep to go on: what is so deep is refused for that. */
  #over = false;
  #deep = false;

  constructor(most: number, sizeOf: (text: string, most: number) => number) {
    this.#most = most;
    this.#sizeOf = sizeOf;
  }

  measure(value: unknown): number {
    this.#add(value, 0);
    return this.#over ? Number.POSITIVE_INFINITY : this.#size;
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
    const { toJSON } = value as { readonly toJSON?: unknown };
    if (typeof toJSON === 'function') this.#add(toJSON.call(value), depth + 1);
    else if (Array.isArray(value)) {
      this.#count(2 + Math.max(0, value.length - 1));
      for (let at = 0; at < value.length && !this.#isDone; at++) this.#add(value[at], depth + 1);
    } else this.#addKeys(value as Record<string, unknown>, depth);
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
      const inner = value[key];
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
