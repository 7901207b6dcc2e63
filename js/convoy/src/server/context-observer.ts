/**
 * What a query looks at of its context, which decides with whom its result may be shared: only with callers whose
 * context says the same of everything it has looked at.
 *
 * The handler gets a proxy that notes each key before it gives its value out. What is the base's own is not noted by its
 * key, since it is the same in every context that is plain: in which the base is as it was, and which holds no more than
 * its members show. Any look at all is noted as one at a plain context, and of one that is not, that is all it says: it
 * is like none. A run with such a context is not observed, so nothing is known of it and its result is its caller's
 * alone. The same goes for a context that somebody changes.
 */

import { types } from 'node:util';
import { canonicalText, shortened } from './canonical.js';

/** By key: the canonical text of its value, or `null` where it has none and can be the same as no other. */
export type Seen = ReadonlyMap<string, string | null>;

/** The text of a key that is not there. */
const ABSENT = 'undefined';

/** Stands for the context being plain. */
const PLAIN = '@@plain';

/** What a context says that is not. */
export const NOT_PLAIN: Seen = new Map([[PLAIN, null]]);

/** Stands for which keys there are, and in what order. */
const KEYS = '@@keys';

/** Stands for all keys that cannot stand for themselves. */
const STRANGE = '@@symbols';

/** The proxies' handler: the methods with the names of traps are those. */
export class ContextObserver implements ProxyHandler<object> {
  readonly #context: object;
  readonly #base: object;
  readonly #texts = new Map<string, string | null>();
  #isUnknown = false;

  /** Observes `context`, which was made of `base`; `null` where what it shows is not all there is to it. */
  static of(context: object, base: object): ContextObserver | null {
    return isPlainOver(context, base) ? new ContextObserver(context, base) : null;
  }

  private constructor(context: object, base: object) {
    this.#context = context;
    this.#base = base;
  }

  /** What a handler is given in place of `context`: the observed one, or a copy of it with another base. */
  view(context: object): object {
    return new Proxy(context, this);
  }

  /** Looks at everything the context says. */
  lookAtAll(): void {
    for (const key of this.ownKeys(this.#context)) this.#look(this.#context, key);
  }

  /** What was looked at until now; `null` where that is not known. */
  seen(): Seen | null {
    if (this.#isUnknown || !isPlainOver(this.#context, this.#base)) return null;
    for (const [name, text] of this.#texts) {
      // What has changed since may have been looked at before, after, or in both states.
      if (text !== null && textOf(this.#context, name) !== text) this.#texts.set(name, null);
    }
    return this.#texts;
  }

  get(target: object, key: string | symbol, receiver: unknown): unknown {
    this.#look(target, key);
    return Reflect.get(target, key, receiver);
  }

  has(target: object, key: string | symbol): boolean {
    this.#look(target, key);
    return Reflect.has(target, key);
  }

  getOwnPropertyDescriptor(target: object, key: string | symbol): PropertyDescriptor | undefined {
    this.#look(target, key);
    return Reflect.getOwnPropertyDescriptor(target, key);
  }

  /** Only that of a plain one is everyone's. */
  getPrototypeOf(target: object): object | null {
    this.#note(target, PLAIN);
    return Reflect.getPrototypeOf(target);
  }

  ownKeys(target: object): (string | symbol)[] {
    this.#note(target, PLAIN);
    this.#note(target, KEYS);
    return Reflect.ownKeys(target);
  }

  set(target: object, key: string | symbol, value: unknown, receiver: unknown): boolean {
    this.#isUnknown = true;
    return Reflect.set(target, key, value, receiver);
  }

  defineProperty(target: object, key: string | symbol, property: PropertyDescriptor): boolean {
    this.#isUnknown = true;
    return Reflect.defineProperty(target, key, property);
  }

  deleteProperty(target: object, key: string | symbol): boolean {
    this.#isUnknown = true;
    return Reflect.deleteProperty(target, key);
  }

  setPrototypeOf(target: object, prototype: object | null): boolean {
    this.#isUnknown = true;
    return Reflect.setPrototypeOf(target, prototype);
  }

  preventExtensions(target: object): boolean {
    this.#isUnknown = true;
    return Reflect.preventExtensions(target);
  }

  /** No key says it. */
  isExtensible(target: object): boolean {
    this.#isUnknown = true;
    return Reflect.isExtensible(target);
  }

  #look(target: object, key: string | symbol): void {
    if (this.#texts.size === 0) this.#note(target, PLAIN);
    if (!Object.hasOwn(this.#base, key)) this.#note(target, isStrange(key) ? STRANGE : (key as string));
  }

  /** As it is when it is looked at first. */
  #note(target: object, name: string): void {
    if (!this.#texts.has(name)) this.#texts.set(name, textOf(target, name));
  }
}

/** Whether `context` is a plain object that has all of `base` as it is; one that is frozen has not. */
function isPlainOver(context: object, base: object): boolean {
  if (types.isProxy(context) || Object.getPrototypeOf(context) !== Object.prototype) return false;
  for (const key in base) {
    const property = Object.getOwnPropertyDescriptor(context, key);
    if (property === undefined || property.value !== base[key as keyof typeof base]) return false;
    if (!(property.enumerable && property.writable && property.configurable)) return false;
  }
  return true;
}

/** What a context says under `name`. */
function textOf(context: object, name: string): string | null {
  if (name === PLAIN) return 'true';
  if (name === KEYS) {
    const keys = Reflect.ownKeys(context);
    return keys.some(isStrange) ? null : shortened(JSON.stringify(keys));
  }
  if (name === STRANGE) return Reflect.ownKeys(context).some(isStrange) ? null : ABSENT;
  const property = Object.getOwnPropertyDescriptor(context, name);
  if (property === undefined) return ABSENT;
  if (!('value' in property) || property.enumerable !== true) return null;
  const text = canonicalText(property.value);
  // A handler can find out that a value is fixed.
  return text === null || (property.writable && property.configurable) ? text : `!${text}`;
}

/** Symbols, what JSON in UTF-8 cannot carry, and what would be taken for one of our own names. */
function isStrange(key: string | symbol): boolean {
  return typeof key === 'symbol' || key.startsWith('@@') || !(key as WellFormed).isWellFormed();
}

/** ES2024, and in every Node we support, but not yet in the library types we compile with. */
type WellFormed = string & { isWellFormed(): boolean };
