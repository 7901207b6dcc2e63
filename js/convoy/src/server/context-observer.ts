/**
 * Records which members of its context a query reads. Its result may be shared only with callers whose contexts have the
 * same values for all of them.
 *
 * The handler receives a proxy that records each key before it returns the value. Some operations bypass the traps of a
 * proxy: Node prints its target, `===` and a `WeakMap` compare identities, private fields and internal slots are found
 * without a key. So the target is empty, the base is not the one that `createContext` received, and an object with a
 * canonical text is returned as a copy made for the run.
 *
 * `ctx.auth` is no plain data, but answers questions: it records the question in place of the whole (`auth.ts`).
 *
 * Members of the base are not recorded: they are the same in every plain context, that is, in every context that has the
 * base unchanged and holds no more than its visible members. Every recorded run has read that its context is plain. A
 * context that is not plain equals no other: its run is not observed, its reads are unknown, and its result is never
 * shared. The same applies if a handler changes its context.
 */

import { inspect, types } from 'node:util';
import { type Auth, hasRole, isAuth, observedAuth, userOf } from './auth.js';
import { canonicalText, deepCopy, hashIfLong } from './canonical.js';

/** By key: the canonical text of its value, or `null` if it has none and so equals no other. */
export type ContextReads = ReadonlyMap<string, string | null>;

/** The text of a missing key. */
const ABSENT = 'undefined';

/** The pseudo-key for the context being plain. */
const PLAIN = '@@plain';

/** The reads of a context that is not plain. */
export const NOT_PLAIN: ContextReads = new Map([[PLAIN, null]]);

/** The pseudo-key for the list of keys and their order. */
const KEYS = '@@keys';

/** The pseudo-key for all keys that cannot be recorded by name. */
const UNNAMEABLE = '@@symbols';

/** The member that may be an `Auth`, and the text that it then has. No canonical text is equal. */
const AUTH = 'auth';
const AUTH_TEXT = 'Auth';

/** The pseudo-keys of questions to `ctx.auth` begin with this. */
const QUESTION = '@@auth.';

/** Records the reads of one context, through any number of views. */
export class ContextObserver {
  readonly #context: object;
  readonly #base: object;
  readonly #texts = new Map<string, string | null>([[PLAIN, 'true']]);
  /** The copies returned in place of objects in the context, by key. */
  readonly #copies = new Map<string | symbol, Copy>();
  #isInvalid = false;

  /** Observes `context`, made of `base`; `null` if the context is not plain. */
  static of(context: object, base: object): ContextObserver | null {
    return isPlainOver(context, base) ? new ContextObserver(context, base) : null;
  }

  private constructor(context: object, base: object) {
    this.#context = context;
    this.#base = base;
  }

  /** The proxy to pass to a handler in place of `context`, a copy of the observed context with another base. */
  view(context: object): object {
    // Node and V8 read a proxy's target without a trap, so the target is empty.
    const shadow = Object.defineProperty({}, inspect.custom, { value: () => printedForm(view), configurable: true });
    const view: object = new Proxy(shadow, new View(this, context));
    return view;
  }

  /** Records a read of every member of the context. */
  recordAll(): void {
    this.recordKeys(this.#context);
    for (const key of Reflect.ownKeys(this.#context)) this.recordRead(this.#context, key);
    const auth = authOf(this.#context);
    for (const question of auth === null ? [] : answeredQuestions(auth)) this.#ask(this.#context, question);
  }

  /** The reads so far; `null` if they are unknown. */
  reads(): ContextReads | null {
    if (this.#isInvalid || !isPlainOver(this.#context, this.#base)) return null;
    for (const [name, text] of this.#texts) {
      // A value that has changed since may have been read before the change, after it, or both.
      if (text !== null && textOf(this.#context, name) !== text) this.#texts.set(name, null);
    }
    return this.#texts;
  }

  /** Records a read of `key`; of a key that cannot be recorded by name, under the pseudo-key of all such keys. */
  recordRead(context: object, key: string | symbol): void {
    if (Object.hasOwn(this.#base, key) && !isReplaced(this.#context, this.#base, key)) return;
    if (isUnnameable(key)) this.#record(context, UNNAMEABLE);
    else if (this.#record(context, key as string)) this.#copy(context, key as string);
  }

  /** Records a read of the list of keys. */
  recordKeys(context: object): void {
    this.#record(context, KEYS);
  }

  /** Makes the reads of the run unknown. */
  invalidate(): void {
    this.#isInvalid = true;
  }

  /**
   * The value to return for `value`, read under `key`. An object with a canonical text is replaced by its copy, which has
   * only the content of the text: neither an identity that other code knows nor hidden state.
   */
  exposedValue(key: string | symbol, value: unknown): unknown {
    if (typeof value !== 'object' || value === null) return value;
    const copy = this.#copies.get(key);
    if (copy?.of === value) return copy.value;
    // The member was replaced since it was recorded: the text may be equal, but it is another object.
    if (copy !== undefined) this.#isInvalid = true;
    return value;
  }

  /** Records the text of `name` at its first read; true if this is the first. */
  #record(context: object, name: string): boolean {
    if (this.#texts.has(name)) return false;
    this.#texts.set(name, textOf(context, name));
    return true;
  }

  #copy(context: object, key: string): void {
    if (this.#isInvalid || this.#texts.get(key) === null) return;
    const value: unknown = Object.getOwnPropertyDescriptor(context, key)?.value;
    if (typeof value !== 'object' || value === null) return;
    const auth = key === AUTH ? authOf(context) : null;
    const copy = auth === null ? deepCopy(value) : observedAuth(auth, (question) => this.#ask(context, question));
    this.#copies.set(key, { of: value, value: copy });
  }

  /** Records a question to `ctx.auth`; one that cannot be recorded by name, as reading the whole user. */
  #ask(context: object, question: string): void {
    this.#record(context, `${QUESTION}${(question as WellFormed).isWellFormed() ? question : 'user'}`);
  }
}

/** An object in a context, and the copy returned in its place. */
interface Copy {
  readonly of: object;
  readonly value: unknown;
}

/** The object that Node prints in place of a view. It reads, and so records, every member. */
function printedForm(view: object): object {
  return Object.defineProperties({}, Object.getOwnPropertyDescriptors(view));
}

/**
 * The proxy handler of one view; its traps read from the context. The proxy's target, the shadow, receives only what the
 * invariants of proxies require: non-configurable members once they were read, and all members when the handler prevents
 * extensions.
 */
class View implements ProxyHandler<object> {
  readonly #observer: ContextObserver;
  readonly #context: object;

  constructor(observer: ContextObserver, context: object) {
    this.#observer = observer;
    this.#context = context;
  }

  get(_shadow: object, key: string | symbol, receiver: unknown): unknown {
    this.#observer.recordRead(this.#context, key);
    const value: unknown = Reflect.get(this.#context, key, receiver);
    return this.#observer.exposedValue(key, value);
  }

  has(_shadow: object, key: string | symbol): boolean {
    this.#observer.recordRead(this.#context, key);
    return Reflect.has(this.#context, key);
  }

  getOwnPropertyDescriptor(shadow: object, key: string | symbol): PropertyDescriptor | undefined {
    this.#observer.recordRead(this.#context, key);
    const property = this.#described(key);
    if (property?.configurable === false) Reflect.defineProperty(shadow, key, property);
    return property;
  }

  getPrototypeOf(): object | null {
    return Reflect.getPrototypeOf(this.#context);
  }

  ownKeys(): (string | symbol)[] {
    this.#observer.recordKeys(this.#context);
    return Reflect.ownKeys(this.#context);
  }

  set(_shadow: object, key: string | symbol, value: unknown, receiver: unknown): boolean {
    this.#observer.invalidate();
    return Reflect.set(this.#context, key, value, receiver);
  }

  defineProperty(shadow: object, key: string | symbol, property: PropertyDescriptor): boolean {
    this.#observer.invalidate();
    if (!Reflect.defineProperty(this.#context, key, property)) return false;
    return Reflect.defineProperty(shadow, key, this.#described(key) as PropertyDescriptor);
  }

  deleteProperty(shadow: object, key: string | symbol): boolean {
    this.#observer.invalidate();
    return Reflect.deleteProperty(this.#context, key) && Reflect.deleteProperty(shadow, key);
  }

  setPrototypeOf(_shadow: object, prototype: object | null): boolean {
    this.#observer.invalidate();
    return Reflect.setPrototypeOf(this.#context, prototype);
  }

  preventExtensions(shadow: object): boolean {
    this.#observer.invalidate();
    Reflect.deleteProperty(shadow, inspect.custom);
    for (const key of Reflect.ownKeys(this.#context)) {
      Reflect.defineProperty(shadow, key, this.#described(key) as PropertyDescriptor);
    }
    Reflect.setPrototypeOf(shadow, Reflect.getPrototypeOf(this.#context));
    return Reflect.preventExtensions(this.#context) && Reflect.preventExtensions(shadow);
  }

  /** Not covered by any recorded key. */
  isExtensible(shadow: object): boolean {
    this.#observer.invalidate();
    return Reflect.isExtensible(shadow);
  }

  #described(key: string | symbol): PropertyDescriptor | undefined {
    const property = Reflect.getOwnPropertyDescriptor(this.#context, key);
    if (property !== undefined && 'value' in property)
      property.value = this.#observer.exposedValue(key, property.value);
    return property;
  }
}

/** The member of the base that createContext may replace. It is then a member like those that it adds. */
const LOG = 'log';

function isReplaced(context: object, base: object, key: string | symbol): boolean {
  return (
    key === LOG && Object.getOwnPropertyDescriptor(context, key)?.value !== (base as { readonly log?: unknown }).log
  );
}

/** Whether `context` is a plain, extensible object that has all members of `base` unchanged, except for its own log. */
function isPlainOver(context: object, base: object): boolean {
  if (types.isProxy(context) || Object.getPrototypeOf(context) !== Object.prototype) return false;
  if (!Object.isExtensible(context)) return false;
  for (const key in base) {
    if (isReplaced(context, base, key)) continue;
    const property = Object.getOwnPropertyDescriptor(context, key);
    if (property === undefined || property.value !== base[key as keyof typeof base]) return false;
    if (!(property.enumerable && property.writable && property.configurable)) return false;
  }
  return true;
}

/** The text of the key or pseudo-key `name` of a context. */
function textOf(context: object, name: string): string | null {
  if (name === PLAIN) return 'true';
  if (name === KEYS) {
    const keys = Reflect.ownKeys(context);
    return keys.some(isUnnameable) ? null : hashIfLong(JSON.stringify(keys));
  }
  if (name === UNNAMEABLE) return Reflect.ownKeys(context).some(isUnnameable) ? null : ABSENT;
  if (name.startsWith(QUESTION)) return answerText(authOf(context), name.slice(QUESTION.length));
  const property = Object.getOwnPropertyDescriptor(context, name);
  if (property === undefined) return ABSENT;
  if (!('value' in property) || property.enumerable !== true) return null;
  const text = name === AUTH && authOf(context) !== null ? AUTH_TEXT : canonicalText(property.value);
  // A handler can observe these attributes. No canonical text begins with these characters.
  return text === null ? null : `${property.writable ? '' : '='}${property.configurable ? '' : '#'}${text}`;
}

/** The `Auth` of a context, if it has one as `auth`. */
function authOf(context: object): Auth | null {
  const value: unknown = Object.getOwnPropertyDescriptor(context, AUTH)?.value;
  return !types.isProxy(value) && isAuth(value) ? value : null;
}

/**
 * The text of the answer to a question. "No" is the text of a missing key: so a context has to list only the questions
 * that it answers otherwise.
 */
function answerText(auth: Auth | null, question: string): string | null {
  const user = auth === null ? null : userOf(auth);
  if (user === null) return ABSENT;
  if (question === 'signedIn') return 'true';
  if (question === 'user') return canonicalText(user);
  if (question.startsWith('can.')) return hasRole(user, question.slice('can.'.length)) ? 'true' : ABSENT;
  const field = question.slice('user.'.length);
  return Object.hasOwn(user, field) ? canonicalText(user[field as keyof typeof user]) : ABSENT;
}

/** The questions to which the answer of `auth` is not "no". */
function answeredQuestions(auth: Auth): string[] {
  const user = userOf(auth);
  if (user === null) return [];
  const fields = Object.keys(user).map((field) => `user.${field}`);
  const roles = [...(user.roles ?? []), ...(user.permissions ?? [])].map((role) => `can.${role}`);
  return ['signedIn', 'user', ...fields, ...roles];
}

/** Whether `key` cannot be recorded by name: a symbol, a string that is not valid Unicode, or one like a pseudo-key. */
function isUnnameable(key: string | symbol): boolean {
  return typeof key === 'symbol' || key.startsWith('@@') || !(key as WellFormed).isWellFormed();
}

/** ES2024: available in every supported Node, but not in the library types of our target. */
type WellFormed = string & { isWellFormed(): boolean };
