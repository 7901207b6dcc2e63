/**
 * The fields of a line of the log as JSON, from any value: bounded, and without an exception, so that a log line is never
 * the reason that a function fails. Members whose names say that they are secret are replaced.
 */

import { types } from 'node:util';
import { jsonSize } from '../../values/json-size.js';

/** The maximum size of the JSON of all fields, and of one text in them, in bytes. */
export const MAX_FIELDS_BYTES = 6 << 10;
export const MAX_TEXT_BYTES = 2 << 10;
/** How deep objects and lists may be in one another. */
export const MAX_DEPTH = 6;
/** Members and elements of one value. */
export const MAX_MEMBERS = 100;

/** Names of secrets, in lower case and without separators. */
const SECRET_NAMES: ReadonlySet<string> = new Set([
  'accesstoken',
  'apikey',
  'authorization',
  'clientsecret',
  'cookie',
  'databaseurl',
  'idtoken',
  'password',
  'privatekey',
  'refreshtoken',
  'secret',
  'setcookie',
  'token',
]);

/** The JSON of an object; `null` if there are no fields. */
export function logFields(given: unknown): string | null {
  if (given === undefined || given === null) return null;
  const copier = new Copier();
  try {
    const copy = copier.copy(given, 0);
    const isObject = typeof copy === 'object' && copy !== null && !Array.isArray(copy);
    const fields = types.isNativeError(given) ? { error: copy } : isObject ? copy : { value: copy };
    return JSON.stringify(fields);
  } catch (error) {
    return JSON.stringify({ fields: `could not be read: ${shortText(messageOf(error), MAX_TEXT_BYTES)}` });
  }
}

/** The beginning of `text` whose JSON has at most `maxBytes`, and the number of characters that were cut. */
export function shortText(text: string, maxBytes: number): string {
  if (text.length * 6 <= maxBytes || jsonSize(text, maxBytes) <= maxBytes) return text;
  let kept = text.slice(0, Math.max(0, maxBytes));
  while (kept !== '' && jsonSize(kept, maxBytes) > maxBytes) kept = kept.slice(0, Math.floor(kept.length * 0.8));
  // Not between the halves of a character.
  if (/[\ud800-\udbff]$/.test(kept)) kept = kept.slice(0, -1);
  return `${kept} … (${text.length - kept.length} more characters were cut)`;
}

/** Any value as the message of a line. */
export function logMessage(given: unknown, maxBytes: number): string {
  if (typeof given === 'string') return shortText(given, maxBytes);
  try {
    const copy = new Copier().copy(given, 0);
    return shortText(typeof copy === 'string' ? copy : (JSON.stringify(copy) ?? String(copy)), maxBytes);
  } catch (error) {
    return `(a message that could not be read: ${shortText(messageOf(error), maxBytes / 2)})`;
  }
}

/** Copies a value as data that `JSON.stringify` takes, up to the limits. */
class Copier {
  #left = MAX_FIELDS_BYTES;
  /** The objects around the one that is copied. */
  readonly #around: object[] = [];

  copy(value: unknown, depth: number): unknown {
    switch (typeof value) {
      case 'string':
        return this.#text(value);
      case 'number':
        this.#left -= 24;
        return Number.isFinite(value) ? value : String(value);
      case 'bigint':
      case 'symbol':
        return this.#text(String(value));
      case 'function':
        return this.#text('[function]');
      case 'object':
        return value === null ? null : this.#object(value, depth);
      default:
        this.#left -= 5;
        return value;
    }
  }

  #text(text: string): string {
    const short = shortText(text, Math.max(0, Math.min(MAX_TEXT_BYTES, this.#left)));
    this.#left -= jsonSize(short, Number.POSITIVE_INFINITY);
    return short;
  }

  #object(value: object, depth: number): unknown {
    // A trap of a proxy may do anything.
    if (types.isProxy(value)) return this.#text('[proxy]');
    if (this.#around.includes(value)) return this.#text('[cyclic]');
    if (depth >= MAX_DEPTH) return this.#text('[nested too deeply]');
    this.#around.push(value);
    try {
      return this.#members(value, depth);
    } finally {
      this.#around.pop();
    }
  }

  #members(value: object, depth: number): unknown {
    if (types.isDate(value)) return this.#text(Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString());
    if (types.isNativeError(value)) return this.#error(value, depth);
    if (types.isMap(value)) return this.#text(`[Map of ${value.size}]`);
    if (types.isSet(value)) return this.#text(`[Set of ${value.size}]`);
    if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) {
      return this.#text(`[${value.byteLength} bytes]`);
    }
    const { toJSON } = value as { readonly toJSON?: unknown };
    if (typeof toJSON === 'function') return this.copy(toJSON.call(value, ''), depth + 1);
    if (Array.isArray(value)) {
      const copy: unknown[] = [];
      for (let at = 0; at < value.length; at++) {
        if (this.#isFull(at)) return [...copy, `… (${value.length - at} more)`];
        copy.push(this.#member(value, at, depth) ?? null);
      }
      return copy;
    }
    return this.#record(value, depth);
  }

  #record(value: object, depth: number): object {
    const copy: Record<string, unknown> = Object.create(null);
    const keys = Object.keys(value);
    for (const [at, key] of keys.entries()) {
      if (this.#isFull(at)) {
        copy['…'] = `${keys.length - at} more`;
        break;
      }
      copy[this.#text(key)] = isSecret(key) ? this.#text('[secret]') : this.#member(value, key, depth);
    }
    return copy;
  }

  #member(value: object, key: string | number, depth: number): unknown {
    try {
      return this.copy((value as Record<string | number, unknown>)[key], depth + 1);
    } catch {
      return this.#text('[could not be read]');
    }
  }

  #error(error: Error, depth: number): object {
    const { name, message, stack, cause } = error;
    return {
      name: this.#text(String(name)),
      message: this.#text(String(message)),
      ...(stack === undefined ? {} : { stack: this.#text(String(stack)) }),
      ...(cause === undefined ? {} : { cause: this.copy(cause, depth + 1) }),
    };
  }

  #isFull(members: number): boolean {
    return this.#left <= 0 || members >= MAX_MEMBERS;
  }
}

function isSecret(name: string): boolean {
  return SECRET_NAMES.has(name.slice(0, 32).replace(/[-_]/g, '').toLowerCase());
}

function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? String(error.message) : String(error);
  } catch {
    return 'an error that could not be read';
  }
}
