/**
 * Who makes a call, as a short text: equal for a mutation and for its repetition under the same `Idempotency-Key`, and
 * different for different people.
 *
 * It is made of what `createContext` added to its base, because only that says who asks. A token may have been renewed
 * between the two, and a user's document may have changed, so `expiresAt` does not count, and of anything with an `id`
 * only the id does.
 *
 * Where something was added that may hold more than can be read, that does not say who asks. Then the request counts as
 * well, because a context is made of it, and a repetition that is not the same request is a new call: better done twice
 * than answered with what is someone else's.
 */

import { createHash } from 'node:crypto';
import { types } from 'node:util';
import type { ConvoyRequest } from './contexts.js';

/** Headers that may differ between two requests of one caller and say nothing of who asks. */
const INCIDENTAL: ReadonlySet<string> = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'cache-control',
  'connection',
  'content-length',
  'content-type',
  'convoy-position',
  'convoy-session',
  'idempotency-key',
  'last-event-id',
  'pragma',
  'priority',
  'referer',
  'te',
  'traceparent',
  'tracestate',
  'transfer-encoding',
  'upgrade',
  'user-agent',
  'x-request-id',
]);

/**
 * Headers that may say which tenant is meant. Browsers leave `Origin` out where they only open a stream, so they do not
 * count for sessions.
 */
const OF_PLACE: ReadonlySet<string> = new Set(['host', 'origin']);

/** Deeper than any context is; what goes deeper cannot be read. */
const MAX_DEPTH = 16;

/** The same of all that a browser says of how it asks: `Sec-Fetch-Mode` and the like. */
const OF_BROWSERS = 'sec-';

/** What a fingerprint is for. */
export interface Purpose {
  /**
   * A session, which must stay who it is when its token is renewed. Functions beside data do not count then: nothing is
   * answered from what was kept for another, and what may be shown is decided by the new context anyway.
   */
  readonly session?: boolean;
}

/** The fingerprint of the one who asks: of `context`, which `createContext` made of `base` for `request`. */
export function identityOf(
  context: object,
  base: object,
  request: ConvoyRequest,
  { session = false }: Purpose = {},
): string {
  const reading = new Reading(base, { functionsCount: !session });
  const added = reading.context(context);
  const from = reading.isComplete ? null : originOf(request, session);
  return createHash('sha256')
    .update(JSON.stringify([added, from]))
    .digest('base64url');
}

/** All that a request says of who makes it. Its path says what is asked. */
function originOf({ url = '', headers, ip }: ConvoyRequest, session: boolean): unknown {
  const tells = (name: string): boolean =>
    !INCIDENTAL.has(name) && !name.startsWith(OF_BROWSERS) && !(session && OF_PLACE.has(name));
  const telling = Object.entries(headers).filter(([name]) => tells(name));
  const search = url.includes('?') ? url.slice(url.indexOf('?')) : '';
  return [search, ip, telling.sort(([one], [other]) => (one < other ? -1 : 1))];
}

/** Reads values as text, and keeps in mind whether something could not be read. */
class Reading {
  isComplete = true;
  readonly #functionsCount: boolean;
  #metFunction = false;
  /** What the base brought, wherever it was put. */
  readonly #ofBase: ReadonlySet<unknown>;
  readonly #above = new Set<object>();

  constructor(base: object, { functionsCount }: { readonly functionsCount: boolean }) {
    this.#functionsCount = functionsCount;
    this.#ofBase = new Set<unknown>([base, ...Object.values(base)]);
  }

  /** What was added to the base. The context itself is never taken by an `id` it may have. */
  context(context: object): string {
    if (types.isProxy(context)) return this.#unreadable();
    if (!isPlain(context)) this.isComplete = false;
    const added = this.#members(context, 0, (key) => key !== 'expiresAt');
    if (added === '{}' && this.#metFunction) this.isComplete = false;
    return added;
  }

  /** The members of an object by name, sorted; what is `undefined` is left out. */
  #members(object: object, depth: number, counts: (key: string) => boolean = () => true): string {
    const texts: string[] = [];
    for (const key of Reflect.ownKeys(object).sort(byName)) {
      if (typeof key === 'symbol') this.isComplete = false;
      if (typeof key === 'symbol' || !counts(key)) continue;
      const text = this.#member(object, key, depth);
      if (text !== null) texts.push(`${JSON.stringify(key)}:${text}`);
    }
    return `{${texts.join()}}`;
  }

  /** A getter is not asked: it may do anything, and be another thing the next time. What is hidden is left to itself. */
  #member(object: object, key: string, depth: number): string | null {
    const property = Object.getOwnPropertyDescriptor(object, key);
    if (property === undefined || !('value' in property) || !property.enumerable) return this.#unreadable();
    return this.#text(property.value, depth + 1);
  }

  #text(value: unknown, depth: number): string | null {
    switch (typeof value) {
      case 'string':
        return JSON.stringify(value);
      case 'number':
        return Object.is(value, -0) ? '-0' : String(value);
      case 'boolean':
        return String(value);
      case 'bigint':
        return `${value}n`;
      case 'undefined':
        return null;
      case 'object':
        if (value === null) return 'null';
        return this.#ofBase.has(value) ? null : this.#object(value, depth);
      case 'function':
        if (this.#ofBase.has(value)) return null;
        // What it closes over may be all that says who asks.
        if (this.#functionsCount) return this.#unreadable();
        this.#metFunction = true;
        return null;
      default:
        return this.#unreadable();
    }
  }

  #object(value: object, depth: number): string {
    if (depth > MAX_DEPTH || this.#above.has(value) || types.isProxy(value)) return this.#unreadable();
    this.#above.add(value);
    const text = this.#structure(value, depth);
    this.#above.delete(value);
    return text;
  }

  #structure(value: object, depth: number): string {
    if (Array.isArray(value)) return this.#list(value, depth);
    const id = Object.getOwnPropertyDescriptor(value, 'id');
    if (id?.enumerable === true && isId(id.value)) return `{"id":${JSON.stringify(id.value)}}`;
    if (isBareDate(value)) return `Date(${Date.prototype.getTime.call(value)})`;
    return isPlain(value) ? this.#members(value, depth) : this.#unreadable();
  }

  #list(list: readonly unknown[], depth: number): string {
    // The keys of an array without holes or anything else are its indexes and `length`.
    const isBare = Object.getPrototypeOf(list) === Array.prototype && Reflect.ownKeys(list).length === list.length + 1;
    if (!isBare) return this.#unreadable();
    return `[${Array.from(list.keys(), (at) => this.#member(list, String(at), depth) ?? 'undefined').join()}]`;
  }

  #unreadable(): string {
    this.isComplete = false;
    return '"?"';
  }
}

function byName(one: string | symbol, other: string | symbol): number {
  if (typeof one === 'symbol' || typeof other === 'symbol') return typeof one === 'symbol' ? 1 : -1;
  return one < other ? -1 : 1;
}

function isId(value: unknown): value is string | number {
  return typeof value === 'string' || (typeof value === 'number' && Number.isFinite(value));
}

function isBareDate(value: object): value is Date {
  return types.isDate(value) && Object.getPrototypeOf(value) === Date.prototype && Reflect.ownKeys(value).length === 0;
}

/** A plain object, and none that only says so: one with the slots of a built-in class holds more than its members. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  return !HAS_SLOTS.some((has) => has(value));
}

const HAS_SLOTS: readonly ((value: unknown) => boolean)[] = [
  types.isMap,
  types.isSet,
  types.isDate,
  types.isRegExp,
  types.isPromise,
  types.isBoxedPrimitive,
  types.isAnyArrayBuffer,
  types.isArrayBufferView,
  types.isWeakMap,
  types.isWeakSet,
  types.isNativeError,
  types.isGeneratorObject,
];
