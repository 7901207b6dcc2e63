/**
 * The caller fingerprint: a hash that is equal for a mutation and its retry under the same `Idempotency-Key`, and
 * different for different callers.
 *
 * It is computed from the members that `createContext` added to its base, because only those identify the caller. Between
 * the two requests a token may have been renewed and the user's document may have changed, so `expiresAt` is ignored, and
 * of an object with an `id` only the id counts; of `ctx.auth`, the user's id and organization.
 *
 * A member that cannot be read completely does not identify the caller. In that case the request, from which the context
 * is made, counts too, and a retry that differs from the first request is a new call: it is safer to run a call twice
 * than to replay the result of another caller. A client that repeats calls by itself says so (`convoy-attempt`), and its
 * retry is refused then.
 */

import { createHash } from 'node:crypto';
import { types } from 'node:util';
import { ConvoyError } from '../values/errors.js';
import { isAuth, userOf } from './auth.js';
import type { ConvoyRequest } from './contexts.js';

/** Headers that may differ between two requests of one caller, and do not identify the caller. */
const INCIDENTAL_HEADERS: ReadonlySet<string> = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'cache-control',
  'connection',
  'content-length',
  'content-type',
  'convoy-attempt',
  'convoy-position',
  'convoy-preload',
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
 * Headers that may identify the tenant. They do not count for sessions, because browsers leave `Origin` out of a request
 * that only opens a stream.
 */
const TENANT_HEADERS: ReadonlySet<string> = new Set(['host', 'origin']);

/** Deeper than any context; a deeper member counts as unreadable. */
export const MAX_DEPTH = 16;

/** The prefix of headers in which browsers describe the request, such as `Sec-Fetch-Mode`; they are incidental too. */
const BROWSER_PREFIX = 'sec-';

/** The use of a fingerprint. */
export interface Purpose {
  /**
   * Whether it is for a live session, whose fingerprint must not change when its token is renewed. Functions among data
   * are then ignored: a session replays no stored result, and the new context decides what it may read.
   */
  readonly session?: boolean;
}

/** The fingerprint of a caller, from the `context` that `createContext` made of `base` for `request`. */
export function callerFingerprint(
  context: object,
  base: object,
  request: ConvoyRequest,
  { session = false }: Purpose = {},
): string {
  const reader = new FingerprintReader(base, { includeFunctions: !session });
  const added = reader.context(context);
  if (!reader.isComplete && !session && isRepeated(request)) throw notRepeatable();
  const origin = reader.isComplete ? null : requestIdentity(request, session);
  return createHash('sha256')
    .update(JSON.stringify([added, origin]))
    .digest('base64url');
}

function isRepeated({ headers }: ConvoyRequest): boolean {
  const attempt = headers['convoy-attempt'];
  return attempt !== undefined && attempt !== '1';
}

function notRepeatable(): ConvoyError {
  const message =
    'This call was sent before and may have taken effect. The context has members other than plain data, so the two ' +
    'calls cannot be recognized as the same, and it was not run again.';
  return new ConvoyError('CONFLICT', message, { details: { repeatable: false } });
}

/** The parts of a request that may identify the caller. The path names the function, so it is not among them. */
function requestIdentity({ url = '', headers, ip }: ConvoyRequest, session: boolean): unknown {
  const identifies = (name: string): boolean =>
    !INCIDENTAL_HEADERS.has(name) && !name.startsWith(BROWSER_PREFIX) && !(session && TENANT_HEADERS.has(name));
  const identifying = Object.entries(headers).filter(([name]) => identifies(name));
  const search = url.includes('?') ? url.slice(url.indexOf('?')) : '';
  return [search, ip, identifying.sort(([one], [other]) => (one < other ? -1 : 1))];
}

/** Writes values as text, and records whether all of them could be read. */
class FingerprintReader {
  isComplete = true;
  readonly #includeFunctions: boolean;
  #hasFunction = false;
  /** The base and its members, which are left out wherever they occur. */
  readonly #baseValues: ReadonlySet<unknown>;
  readonly #ancestors = new Set<object>();

  constructor(base: object, { includeFunctions }: { readonly includeFunctions: boolean }) {
    this.#includeFunctions = includeFunctions;
    this.#baseValues = new Set<unknown>([base, ...Object.values(base)]);
  }

  /** The members added to the base. An `id` of the context itself does not stand for the whole context. */
  context(context: object): string {
    if (types.isProxy(context)) return this.#markIncomplete();
    if (!isPlain(context)) this.isComplete = false;
    const added = this.#members(context, 0, (key) => key !== 'expiresAt');
    if (added === '{}' && this.#hasFunction) this.isComplete = false;
    return added;
  }

  /** The members of an object, sorted by name, without those that are `undefined`. */
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

  /** Accessors and non-enumerable members count as unreadable: a getter may have effects, or return another value later. */
  #member(object: object, key: string, depth: number): string | null {
    const property = Object.getOwnPropertyDescriptor(object, key);
    if (property === undefined || !('value' in property) || !property.enumerable) return this.#markIncomplete();
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
        return this.#baseValues.has(value) ? null : this.#object(value, depth);
      case 'function':
        if (this.#baseValues.has(value)) return null;
        // Only its closure may identify the caller.
        if (this.#includeFunctions) return this.#markIncomplete();
        this.#hasFunction = true;
        return null;
      default:
        return this.#markIncomplete();
    }
  }

  #object(value: object, depth: number): string {
    if (depth > MAX_DEPTH || this.#ancestors.has(value) || types.isProxy(value)) return this.#markIncomplete();
    this.#ancestors.add(value);
    const text = this.#structure(value, depth);
    this.#ancestors.delete(value);
    return text;
  }

  #structure(value: object, depth: number): string {
    if (Array.isArray(value)) return this.#list(value, depth);
    if (isAuth(value)) {
      const user = userOf(value);
      return user === null ? 'Auth()' : `Auth(${JSON.stringify([user.id, user.organization ?? null])})`;
    }
    const id = Object.getOwnPropertyDescriptor(value, 'id');
    if (id?.enumerable === true && isId(id.value)) return `{"id":${JSON.stringify(id.value)}}`;
    if (isBareDate(value)) return `Date(${Date.prototype.getTime.call(value)})`;
    return isPlain(value) ? this.#members(value, depth) : this.#markIncomplete();
  }

  #list(list: readonly unknown[], depth: number): string {
    // The keys of an array without holes or anything else are its indexes and `length`.
    const isBare = Object.getPrototypeOf(list) === Array.prototype && Reflect.ownKeys(list).length === list.length + 1;
    if (!isBare) return this.#markIncomplete();
    return `[${Array.from(list.keys(), (at) => this.#member(list, String(at), depth) ?? 'undefined').join()}]`;
  }

  #markIncomplete(): string {
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

/** Whether `value` is a plain object without the internal slots of a built-in class, which hold more than its members. */
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
