/**
 * Measures the length of a value's JSON without creating the text, and stops at a limit: when memory is short, creating
 * a text that does not fit ends the process.
 */

import { MAX_DEPTH } from './json.js';

/** The result of a measurement. */
export interface JsonSize {
  /** The size in bytes of UTF-8; `Infinity` if it exceeds the limit. */
  readonly size: number;
  /** Whether the value is plain data. A getter, a `toJSON` or a proxy may return another value the next time. */
  readonly plain: boolean;
}

export interface MeasureOptions {
  /** The size at which the measurement stops. */
  readonly limit: number;
  /** Whether to compute the exact size instead of an upper bound, which is faster. */
  readonly exact?: boolean;
  /** Detects proxies, which is possible in Node only. */
  readonly isProxy?: (value: object) => boolean;
}

/** Measures the JSON of `value`. */
export function measureJson(value: unknown, { limit, exact = false, isProxy = noProxy }: MeasureOptions): JsonSize {
  // The longest escape of one UTF-16 unit is `\u0000`.
  const meter = new Meter(limit, exact ? exactSize : (text) => 2 + 6 * text.length, isProxy);
  return meter.measure(value);
}

/** The size of the JSON of `value` in bytes of UTF-8; `Infinity` if it exceeds `limit`. */
export function jsonSize(value: unknown, limit: number): number {
  return measureJson(value, { limit, exact: true }).size;
}

const noProxy = () => false;

class Meter {
  readonly #limit: number;
  readonly #sizeOf: (text: string, limit: number) => number;
  readonly #isProxy: (value: object) => boolean;
  #size = 0;
  #plain = true;
  #exceeded = false;
  /** Nested deeper than `MAX_DEPTH`: the measurement stops, since such a value is rejected for its depth. */
  #tooDeep = false;

  constructor(limit: number, sizeOf: (text: string, limit: number) => number, isProxy: (value: object) => boolean) {
    this.#limit = limit;
    this.#sizeOf = sizeOf;
    this.#isProxy = isProxy;
  }

  measure(value: unknown): JsonSize {
    this.#add(value, 0);
    return { size: this.#exceeded ? Number.POSITIVE_INFINITY : this.#size, plain: this.#plain };
  }

  get #isDone(): boolean {
    return this.#exceeded || this.#tooDeep;
  }

  #count(bytes: number): void {
    this.#size += bytes;
    if (this.#size > this.#limit) this.#exceeded = true;
  }

  #text(text: string): void {
    this.#count(this.#sizeOf(text, this.#limit - this.#size));
  }

  #add(value: unknown, depth: number): void {
    if (typeof value === 'string') this.#text(value);
    else if (typeof value === 'number') this.#count(String(value).length);
    else if (typeof value === 'object' && value !== null) this.#addObject(value, depth);
    else this.#count(value === false ? 5 : 4);
  }

  #addObject(value: object, depth: number): void {
    if (depth > MAX_DEPTH) {
      this.#tooDeep = true;
      return;
    }
    if (ArrayBuffer.isView(value) && this.#exceedsLimit(value)) return;
    if (this.#isProxy(value)) this.#plain = false;
    const { toJSON } = value as { readonly toJSON?: unknown };
    if (typeof toJSON === 'function') {
      if (toJSON !== Date.prototype.toJSON) this.#plain = false;
      this.#add(toJSON.call(value), depth + 1);
    } else if (Array.isArray(value)) {
      this.#count(2 + Math.max(0, value.length - 1));
      for (let at = 0; at < value.length && !this.#isDone; at++) this.#add(this.#member(value, at), depth + 1);
    } else this.#addKeys(value as Record<string, unknown>, depth);
  }

  /** A member of an object or an array; a getter or a missing own property may make the value not plain. */
  #member(value: object, key: string | number): unknown {
    const descriptor = Object.getOwnPropertyDescriptor(value, key);
    if (descriptor !== undefined && descriptor.get === undefined) return descriptor.value;
    this.#plain &&= descriptor === undefined;
    return (value as Record<string | number, unknown>)[key];
  }

  /** Whether the number of elements alone exceeds the limit; to visit each or to create their text takes memory. */
  #exceedsLimit(view: ArrayBufferView): boolean {
    const { BYTES_PER_ELEMENT: each = Number.POSITIVE_INFINITY } = view as { readonly BYTES_PER_ELEMENT?: number };
    // A digit and a comma.
    if (this.#size + (view.byteLength / each) * 2 > this.#limit) this.#exceeded = true;
    return this.#exceeded;
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

/** The exact size of a JSON string. Stops when the limit is exceeded: reading a long string takes memory. */
function exactSize(text: string, limit: number): number {
  let size = 2 + text.length;
  for (let at = 0; at < text.length && size <= limit; at++) {
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

/** Half of the four bytes of a surrogate pair; an unpaired surrogate is escaped as `\ud800`. */
function sizeOfSurrogate(text: string, at: number): number {
  const isHigh = text.charCodeAt(at) < 0xdc00;
  const other = text.charCodeAt(isHigh ? at + 1 : at - 1);
  const isPair = isHigh ? other >= 0xdc00 && other <= 0xdfff : other >= 0xd800 && other < 0xdc00;
  return isPair ? 2 : 6;
}

/**
 * A copy of `value` as plain data: its getters and `toJSON` run once. `undefined` if it has more than `limit` members
 * and units of text.
 */
export function plainCopy(value: unknown, limit: number): { readonly copy: unknown } | undefined {
  let remaining = limit;
  const copied = (inner: unknown, key: string, depth: number): unknown => {
    remaining -= typeof inner === 'string' ? inner.length + 1 : 1;
    if (remaining < 0) throw LIMIT_EXCEEDED;
    // A deeper value is rejected for its depth.
    if (typeof inner !== 'object' || inner === null || depth > MAX_DEPTH) return inner;
    const { toJSON } = inner as { readonly toJSON?: unknown };
    if (typeof toJSON === 'function') return copied(toJSON.call(inner, key), key, depth + 1);
    if (Array.isArray(inner)) {
      remaining -= inner.length;
      if (remaining < 0) throw LIMIT_EXCEEDED;
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
    if (error === LIMIT_EXCEEDED) return undefined;
    throw error;
  }
}

const LIMIT_EXCEEDED = new RangeError('More than the limit.');
