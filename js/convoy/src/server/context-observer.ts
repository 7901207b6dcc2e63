/**
 * What a query looks at of its context, which decides with whom its result may be shared: only with callers whose
 * context says the same of everything it has looked at.
 *
 * The handler gets a proxy that notes each key before it gives its value out. Not everything that code can do to an
 * object asks its proxy: Node prints what is behind it, `===` and a `WeakMap` know an object whatever it says, private
 * fields and internal slots are found without a key. So nothing is behind the proxy, the base is another one than
 * `createContext` was given, and an object with a text is given out as a copy made for the run.
 *
 * What is the base's own is not noted by its key, since it is the same in every context that is plain: in which the base
 * is as it was, and which holds no more than its members show. A run is noted as one at a plain context; of one that is
 * not, that is all it says: it is like none. A run with such a context is not observed, so nothing is known of it and its
 * result is its caller's alone. The same goes for a context that its handler changes.
 */

import { inspect, types } from 'node:util';
import { canonicalText, copyOf, shortened } from './canonical.js';

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

/** Notes what is looked at of one context, through however many views. */
export class ContextObserver {
  readonly #context: object;
  readonly #base: object;
  readonly #texts = new Map<string, string | null>([[PLAIN, 'true']]);
  /** The objects given out in place of those in the context, by key. */
  readonly #copies = new Map<string | symbol, Copy>();
  #isUnknown = false;

  /** Observes `context`, which was made of `base`; `null` where what it shows is not all there is to it. */
  static of(context: object, base: object): ContextObserver | null {
    return isPlainOver(context, base) ? new ContextObserver(context, base) : null;
  }

  private constructor(context: object, base: object) {
    this.#context = context;
    this.#base = base;
  }

  /** What a handler is given in place of `context`: a copy of the observed one with another base. */
  view(context: object): object {
    // Node and V8 reach a proxy's target without a trap, so the target holds nothing.
    const shadow = Object.defineProperty({}, inspect.custom, { value: () => shown(view), configurable: true });
    const view: object = new Proxy(shadow, new View(this, context));
    return view;
  }

  /** Looks at everything the context says. */
  lookAtAll(): void {
    this.noteKeys(this.#context);
    for (const key of Reflect.ownKeys(this.#context)) this.look(this.#context, key);
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

  /** Notes that the value of `key` is looked at, and which keys there are where no name can say which one that is. */
  look(context: object, key: string | symbol): void {
    if (Object.hasOwn(this.#base, key)) return;
    if (isStrange(key)) this.#note(context, STRANGE);
    else if (this.#note(context, key as string)) this.#copy(context, key as string);
  }

  /** Notes that it is looked at which keys there are. */
  noteKeys(context: object): void {
    this.#note(context, KEYS);
  }

  /** From here on, nothing is known of the run. */
  forget(): void {
    this.#isUnknown = true;
  }

  /**
   * What is given out for `value`, which was looked at under `key`. Of an object that has a text it is a copy, which has
   * nothing else than what the text says: neither an identity that others know nor anything hidden inside.
   */
  given(key: string | symbol, value: unknown): unknown {
    if (typeof value !== 'object' || value === null) return value;
    const copy = this.#copies.get(key);
    if (copy?.of === value) return copy.value;
    // Put there since it was noted: its text may be the same, but it is another object.
    if (copy !== undefined) this.#isUnknown = true;
    return value;
  }

  /** Notes a text as it is when it is looked at first. True where that is now. */
  #note(context: object, name: string): boolean {
    if (this.#texts.has(name)) return false;
    this.#texts.set(name, textOf(context, name));
    return true;
  }

  #copy(context: object, key: string): void {
    if (this.#isUnknown || this.#texts.get(key) === null) return;
    const value: unknown = Object.getOwnPropertyDescriptor(context, key)?.value;
    if (typeof value === 'object' && value !== null) this.#copies.set(key, { of: value, value: copyOf(value) });
  }
}

/** An object in a context, and what is given out in its place. */
interface Copy {
  readonly of: object;
  readonly value: unknown;
}

/** What Node prints in place of a view. To show everything is to look at everything. */
function shown(view: object): object {
  return Object.defineProperties({}, Object.getOwnPropertyDescriptors(view));
}

/**
 * One view of a context: the methods with the names of traps are those. They answer from the context. The proxy's target,
 * the shadow, is only given what a proxy must have there: members that are fixed, once they were looked at, and all of
 * them where the handler allows no more.
 */
class View implements ProxyHandler<object> {
  readonly #observer: ContextObserver;
  readonly #context: object;

  constructor(observer: ContextObserver, context: object) {
    this.#observer = observer;
    this.#context = context;
  }

  get(_shadow: object, key: string | symbol, receiver: unknown): unknown {
    this.#observer.look(this.#context, key);
    const value: unknown = Reflect.get(this.#context, key, receiver);
    return this.#observer.given(key, value);
  }

  has(_shadow: object, key: string | symbol): boolean {
    this.#observer.look(this.#context, key);
    return Reflect.has(this.#context, key);
  }

  getOwnPropertyDescriptor(shadow: object, key: string | symbol): PropertyDescriptor | undefined {
    this.#observer.look(this.#context, key);
    const property = this.#described(key);
    if (property?.configurable === false) Reflect.defineProperty(shadow, key, property);
    return property;
  }

  getPrototypeOf(): object | null {
    return Reflect.getPrototypeOf(this.#context);
  }

  ownKeys(): (string | symbol)[] {
    this.#observer.noteKeys(this.#context);
    return Reflect.ownKeys(this.#context);
  }

  set(_shadow: object, key: string | symbol, value: unknown, receiver: unknown): boolean {
    this.#observer.forget();
    return Reflect.set(this.#context, key, value, receiver);
  }

  defineProperty(shadow: object, key: string | symbol, property: PropertyDescriptor): boolean {
    this.#observer.forget();
    if (!Reflect.defineProperty(this.#context, key, property)) return false;
    return Reflect.defineProperty(shadow, key, this.#described(key) as PropertyDescriptor);
  }

  deleteProperty(shadow: object, key: string | symbol): boolean {
    this.#observer.forget();
    return Reflect.deleteProperty(this.#context, key) && Reflect.deleteProperty(shadow, key);
  }

  setPrototypeOf(_shadow: object, prototype: object | null): boolean {
    this.#observer.forget();
    return Reflect.setPrototypeOf(this.#context, prototype);
  }

  preventExtensions(shadow: object): boolean {
    this.#observer.forget();
    Reflect.deleteProperty(shadow, inspect.custom);
    for (const key of Reflect.ownKeys(this.#context)) {
      Reflect.defineProperty(shadow, key, this.#described(key) as PropertyDescriptor);
    }
    Reflect.setPrototypeOf(shadow, Reflect.getPrototypeOf(this.#context));
    return Reflect.preventExtensions(this.#context) && Reflect.preventExtensions(shadow);
  }

  /** No key says it. */
  isExtensible(shadow: object): boolean {
    this.#observer.forget();
    return Reflect.isExtensible(shadow);
  }

  #described(key: string | symbol): PropertyDescriptor | undefined {
    const property = Reflect.getOwnPropertyDescriptor(this.#context, key);
    if (property !== undefined && 'value' in property) property.value = this.#observer.given(key, property.value);
    return property;
  }
}

/** Whether `context` is a plain object that has all of `base` as it is; one that is frozen has not. */
function isPlainOver(context: object, base: object): boolean {
  if (types.isProxy(context) || Object.getPrototypeOf(context) !== Object.prototype) return false;
  if (!Object.isExtensible(context)) return false;
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
  // A handler can find out how a value is fixed. No text of a value begins with these signs.
  return text === null ? null : `${property.writable ? '' : '='}${property.configurable ? '' : '#'}${text}`;
}

/** Symbols, what JSON in UTF-8 cannot carry, and what would be taken for one of our own names. */
function isStrange(key: string | symbol): boolean {
  return typeof key === 'symbol' || key.startsWith('@@') || !(key as WellFormed).isWellFormed();
}

/** ES2024, and in every Node we support, but not yet in the library types we compile with. */
type WellFormed = string & { isWellFormed(): boolean };
