/**
 * Who makes a call, as a short text: equal for a mutation and for its repetition under the same `Idempotency-Key`, and
 * different for different people.
 *
 * It is made of what `createContext` added to its base, because only that says who asks. A token may have been renewed
 * between the two, and a user's document may have changed, so `expiresAt` does not count, and of anything with an `id`
 * only the id does. Where something was added that is no plain data, or nothing but functions, it cannot be read who
 * that is; then the request's own credentials count too, and a repetition with a renewed token is a new call: better
 * done twice than answered with what is someone else's.
 */

import { createHash } from 'node:crypto';
import type { ConvoyRequest } from './contexts.js';

/** Headers that say who asks. */
const CREDENTIALS = ['authorization', 'cookie'] as const;

/** Deeper than any context is; what goes deeper counts as no plain data. */
const MAX_DEPTH = 16;

/** The fingerprint of the one who asks: of `context`, which `createContext` made of `base` for `request`. */
export function identityOf(context: object, base: object, request: ConvoyRequest): string {
  const reading = new Reading(base);
  const added = reading.context(context);
  const credentials = reading.isComplete ? [] : CREDENTIALS.map((name) => request.headers[name] ?? null);
  return createHash('sha256')
    .update(JSON.stringify([added, credentials]))
    .digest('base64url');
}

/** Reads values as text, and keeps in mind whether something could not be read. */
class Reading {
  isComplete = true;
  #metFunction = false;
  /** What the base brought, wherever it was put. */
  readonly #ofBase: ReadonlySet<unknown>;
  readonly #above = new Set<object>();

  constructor(base: object) {
    this.#ofBase = new Set<unknown>([base, ...Object.values(base)]);
  }

  /** What was added to the base. The context itself is never taken by an `id` it may have. */
  context(context: object): string {
    const added = this.#members(context, 0, (key) => key !== 'expiresAt');
    if (!isPlain(context) || (added === '{}' && this.#metFunction)) this.isComplete = false;
    return added;
  }

  /** The members of an object by name, sorted; functions and what is `undefined` are left out. */
  #members(object: object, depth: number, counts: (key: string) => boolean = () => true): string {
    const texts: string[] = [];
    for (const key of Object.keys(object).sort()) {
      if (!counts(key)) continue;
      const text = this.#member(object, key, depth);
      if (text !== null) texts.push(`${JSON.stringify(key)}:${text}`);
    }
    return `{${texts.join()}}`;
  }

  /** A getter is not asked: it may do anything, and be another thing the next time. */
  #member(object: object, key: string, depth: number): string | null {
    const property = Object.getOwnPropertyDescriptor(object, key);
    if (property === undefined || property.get !== undefined) return this.#unreadable();
    return this.#text(property.value, depth + 1);
  }

  #text(value: unknown, depth: number): string | null {
    if (typeof value === 'object' || typeof value === 'function') {
      if (this.#ofBase.has(value)) return null;
    }
    switch (typeof value) {
      case 'string':
        return JSON.stringify(value);
      case 'number':
      case 'boolean':
        return String(value);
      case 'bigint':
        return `${value}n`;
      case 'object':
        return value === null ? 'null' : this.#object(value, depth);
      case 'function':
        this.#metFunction = true;
        return null;
      default:
        return null;
    }
  }

  #object(value: object, depth: number): string {
    if (depth > MAX_DEPTH || this.#above.has(value)) return this.#unreadable();
    this.#above.add(value);
    try {
      return this.#structure(value, depth);
    } catch {
      // A proxy may throw at every question; what it hides cannot be read.
      return this.#unreadable();
    } finally {
      this.#above.delete(value);
    }
  }

  #structure(value: object, depth: number): string {
    if (Array.isArray(value)) return `[${value.map((each) => this.#text(each, depth + 1) ?? 'null').join()}]`;
    const id = Object.getOwnPropertyDescriptor(value, 'id')?.value as unknown;
    if (typeof id === 'string' || typeof id === 'number') return `{"id":${JSON.stringify(id)}}`;
    if (value instanceof Date) return `"${value.getTime()}"`;
    return isPlain(value) ? this.#members(value, depth) : this.#unreadable();
  }

  #unreadable(): string {
    this.isComplete = false;
    return '"?"';
  }
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
