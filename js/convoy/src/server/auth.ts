/**
 * `ctx.auth`: the caller, as an adapter of `@avvos/convoy-auth` or the application's own `createContext` has found it.
 *
 * In a query it reports each question that the handler asks to the observer of its context, so that a result is shared
 * between all callers with the same answers: `require()` asks only whether the caller is signed in, `can('admin')` only
 * that, `user.name` only for the name. `context-observer.ts` has the texts of the answers.
 *
 * Safe in a browser: this file uses neither Node nor the engine.
 */

import { ConvoyError } from '../values/errors.js';
import { formatPath, problemIn } from '../values/json.js';
import { SERVER_REPLACEMENTS } from '../values/server-json.js';

/** What every user has. Adapters add more fields: plain data, with times in milliseconds since 1970. */
export interface AuthUser {
  /** Identifies the user; with `organization`, it also identifies the caller of a repeated mutation. */
  readonly id: string;
  /** The organization, team or tenant that the user acts for. */
  readonly organization?: string | undefined;
  /** The roles of the user, for `can`. */
  readonly roles?: readonly string[] | undefined;
  /** The permissions of the user, for `can`. */
  readonly permissions?: readonly string[] | undefined;
}

/** Who a request comes from, as an adapter has found out. */
export interface Identity<User extends AuthUser = AuthUser> {
  /** The user; `null` for a caller who is known not to be signed in. */
  readonly user: User | null;
  /** When the credentials expire, in milliseconds since 1970; without it, they do not. */
  readonly expiresAt?: number;
}

/** `ctx.auth`. In a query, results are shared between callers for whom each question has the same answer. */
export interface Auth<User extends AuthUser = AuthUser> {
  /** The signed-in user; `null` if the caller is not signed in. Each field that a query reads is a question of its own. */
  readonly user: User | null;
  /** The signed-in user; throws `UNAUTHORIZED` if the caller is not signed in. */
  require(): User;
  /** Whether the user has this role or permission. */
  can(role: string): boolean;
  /** Whether the predicate returns true for the user; false if the caller is not signed in. It counts as reading the whole user. */
  can(predicate: (user: User) => boolean): boolean;
}

/** `ctx.auth` of a function defined with `authed`. */
export interface SignedInAuth<User extends AuthUser = AuthUser> extends Auth<User> {
  readonly user: User;
}

/** The context of a function defined with `authed`: its caller is signed in. */
export type SignedInContext<Context> = Context extends { readonly auth: Auth<infer User> }
  ? Omit<Context, 'auth'> & { readonly auth: SignedInAuth<User> }
  : Omit<Context, 'auth'> & { readonly auth: NoAuth };

/** The compiler shows this text where `authed` is used without `ctx.auth`. */
type NoAuth = 'The context has no auth: return { ...base, auth } from createContext.';

/** Receives each question: `signedIn`, `user`, `user.<field>` or `can.<role>`. */
export type RecordQuestion = (question: string) => void;

/** By this symbol an `Auth` of any copy of this package is recognized. */
const BRAND = Symbol.for('convoy.auth');

const INSPECT = Symbol.for('nodejs.util.inspect.custom');

/**
 * Makes `ctx.auth` for `user`, or for a caller who is not signed in. It keeps a frozen copy of the user.
 *
 * @throws TypeError if `user` has no `id`, or has a member that is not plain data, such as a `Date`.
 */
export function createAuth<User extends AuthUser>(user: User | null): Auth<User> {
  return new CallerAuth(user === null ? null : checkedCopy(user), null);
}

/** Whether `value` was made by `createAuth`, in any copy of this package. Runs no code of other objects. */
export function isAuth(value: unknown): value is Auth {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return typeof prototype === 'object' && prototype !== null && Object.hasOwn(prototype, BRAND);
}

/** The user of an `Auth`; if the `Auth` is observed, this counts as reading all of it. */
export function userOf(auth: Auth): AuthUser | null {
  return (auth as Branded)[BRAND]();
}

/** `auth` as a run sees it that has to report its questions. Shares no object with `auth`. */
export function observedAuth(auth: Auth, record: RecordQuestion): Auth {
  return new CallerAuth(frozenCopy(userOf(auth)), record);
}

/** A context written as JSON: an `auth` of the form `{ user }` becomes an `Auth`, whose JSON it is. */
export function contextFromJson(context: unknown): unknown {
  if (typeof context !== 'object' || context === null) return context;
  const { auth } = context as { readonly auth?: unknown };
  if (typeof auth !== 'object' || auth === null || Object.keys(auth).join() !== 'user') return context;
  const { user } = auth as { readonly user: unknown };
  const isUser = user === null || (typeof user === 'object' && typeof (user as AuthUser).id === 'string');
  return isUser ? { ...context, auth: createAuth(user as AuthUser | null) } : context;
}

/** Throws unless the caller of a function defined with `authed` is signed in. */
export function assertSignedIn(context: unknown): void {
  const { auth } = context as { readonly auth?: unknown };
  if (!isAuth(auth)) {
    throw new TypeError(
      'A function defined with `authed` needs `ctx.auth`, and this context has none. Return it from createContext: ' +
        '`{ ...base, ...(await auth.context(req, base)) }` with an adapter of @avvos/convoy-auth, or ' +
        '`{ ...base, auth: createAuth(user) }`.',
    );
  }
  auth.require();
}

/** What identifies the user of a context, for rate limits; `null` without one, or without `auth`. */
export function signedInUser(context: object): string | null {
  const auth: unknown = Object.getOwnPropertyDescriptor(context, 'auth')?.value;
  const user = isAuth(auth) ? userOf(auth) : null;
  return user === null ? null : JSON.stringify([user.id, user.organization ?? null]);
}

/** Whether a user has a role or permission. */
export function hasRole(user: AuthUser | null, role: string): boolean {
  return user?.roles?.includes(role) === true || user?.permissions?.includes(role) === true;
}

type Branded = Auth & { readonly [BRAND]: () => AuthUser | null };

class CallerAuth<User extends AuthUser> implements Auth<User> {
  readonly #user: User | null;
  readonly #visible: User | null;
  readonly #record: RecordQuestion | null;

  constructor(user: User | null, record: RecordQuestion | null) {
    this.#user = user;
    this.#visible = user === null || record === null ? user : observedUser(user, record);
    this.#record = record;
    Object.freeze(this);
  }

  get user(): User | null {
    this.#record?.('signedIn');
    return this.#visible;
  }

  require(): User {
    const { user } = this;
    if (user === null) throw new ConvoyError('UNAUTHORIZED', 'Sign in to do this.');
    return user;
  }

  can(asked: string | ((user: User) => boolean)): boolean {
    if (typeof asked === 'string') {
      this.#record?.(`can.${asked}`);
      return hasRole(this.#user, asked);
    }
    if (typeof asked !== 'function') throw new TypeError('ctx.auth.can takes the name of a role, or a predicate.');
    this.#record?.('user');
    if (this.#user === null) return false;
    const answer: unknown = asked(this.#user);
    if (typeof answer === 'boolean') return answer;
    throw new TypeError('ctx.auth.can: the predicate must return true or false, and no promise.');
  }

  toJSON(): { readonly user: User | null } {
    return { user: this[BRAND]() };
  }

  [BRAND](): User | null {
    this.#record?.('user');
    return this.#user;
  }

  [INSPECT](): unknown {
    return this.toJSON();
  }
}

/** A view of `user` that reports each field before it returns its value. */
function observedUser<User extends AuthUser>(user: User, record: RecordQuestion): User {
  const field = (key: string | symbol): PropertyDescriptor | undefined => {
    if (typeof key === 'symbol') return undefined;
    record(`user.${key}`);
    const property = Object.getOwnPropertyDescriptor(user, key);
    // The target of the proxy is empty, so a property must not be reported as permanent.
    return property === undefined ? undefined : { ...property, configurable: true };
  };
  const printed = (): unknown => {
    record('user');
    return user;
  };
  const target = Object.defineProperty({}, INSPECT, { value: printed, configurable: true });
  return new Proxy<object>(target, {
    get: (shadow, key) => {
      const property = field(key);
      return property === undefined ? Reflect.get(shadow, key) : property.value;
    },
    has: (shadow, key) => field(key) !== undefined || Reflect.has(shadow, key),
    getOwnPropertyDescriptor: (_shadow, key) => field(key),
    ownKeys: () => {
      record('user');
      return Reflect.ownKeys(user);
    },
    set: () => false,
    defineProperty: () => false,
    deleteProperty: () => false,
    setPrototypeOf: () => false,
    preventExtensions: () => false,
  }) as User;
}

/** A frozen copy of `user`, as it was given. */
function checkedCopy<User extends AuthUser>(user: User): User {
  const problem = problemIn(user, { callsToJSON: false, lossy: null, replacements: SERVER_REPLACEMENTS });
  if (problem !== null) throw problemAt(formatPath(['user', ...problem.path]), problem.reason);
  if (Array.isArray(user) || typeof user !== 'object') throw problemAt('user', 'is no object');
  if (typeof user.id !== 'string' || user.id === '') throw problemAt('user.id', 'is no text, or is empty');
  if (user.organization !== undefined && typeof user.organization !== 'string') {
    throw problemAt('user.organization', 'is no text');
  }
  for (const list of ['roles', 'permissions'] as const) {
    const names: unknown = user[list];
    const isList = Array.isArray(names) && names.every((name) => typeof name === 'string');
    if (names !== undefined && !isList) throw problemAt(`user.${list}`, 'is no list of texts');
  }
  return frozenCopy(user);
}

function problemAt(path: string, reason: string): TypeError {
  return new TypeError(`createAuth: \`${path}\` ${reason}.`);
}

/** A deeply frozen copy of plain data, without members that are `undefined`. */
function frozenCopy<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return Object.freeze(value.map(frozenCopy)) as T;
  const copy = {};
  for (const [key, member] of Object.entries(value)) {
    if (member === undefined) continue;
    Object.defineProperty(copy, key, { value: frozenCopy(member), enumerable: true });
  }
  return Object.freeze(copy) as T;
}
