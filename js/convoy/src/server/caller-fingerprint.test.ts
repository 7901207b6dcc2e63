import { describe, expect, it } from 'vitest';
import { callerFingerprint, MAX_DEPTH } from './caller-fingerprint.js';

const base = { db: new (class Db {})(), now: () => 1, runQuery: async () => null };
const anonymous = { headers: {} };
const of = (added: object, headers: Record<string, string> = {}) =>
  callerFingerprint(Object.defineProperties({ ...base }, Object.getOwnPropertyDescriptors(added)), base, { headers });

describe('the caller fingerprint', () => {
  it('is a hash', () => {
    expect(of({ user: 'ada@example.org' })).toMatch(/^[\w-]{43}$/);
  });

  it('differs for contexts with different members', () => {
    expect(of({ userId: 'ada' })).toBe(of({ userId: 'ada' }));
    const all = [
      {},
      { userId: 'ada' },
      { userId: 'eve' },
      { userId: null },
      { user: { name: 'ada' } },
      { n: 1 },
      { n: 1n },
      { n: '1' },
      { n: -0 },
      { n: 0 },
      { n: [] },
      { n: [null] },
      { n: [undefined] },
      { n: new Date(0) },
      { n: '0' },
      { n: Number.NaN },
      { user: { id: Number.NaN } },
      { user: { id: Number.POSITIVE_INFINITY } },
    ];
    expect(new Set(all.map((added) => of(added))).size).toBe(all.length);
  });

  it('does not depend on the order of members', () => {
    expect(of({ a: 1, b: { c: 2, d: 3 } })).toBe(of({ b: { d: 3, c: 2 }, a: 1 }));
  });

  it('stays the same when a token is renewed or the user document changes', () => {
    const before = of({ user: { id: 'users:1', seen: 1 }, expiresAt: 1 }, { authorization: 'Bearer old' });
    const after = of(
      { user: { id: 'users:1', seen: 2, tags: new Set() }, expiresAt: 2 },
      { authorization: 'Bearer new' },
    );
    expect(after).toBe(before);
    expect(of({ user: { id: 'users:2', seen: 1 } })).not.toBe(before);
    expect(of({ user: { id: 7 } })).not.toBe(of({ user: { id: 8 } }));
  });

  it('uses only the id of a class instance, but not an id of the context itself', () => {
    class User {
      constructor(
        readonly id: string,
        readonly seen: number,
      ) {}
    }
    expect(of({ user: new User('u1', 1) }, { cookie: 'a' })).toBe(of({ user: new User('u1', 2) }, { cookie: 'b' }));
    expect(of({ id: 'request', user: 'ada' })).not.toBe(of({ id: 'request', user: 'eve' }));
  });

  it('ignores members of the base, wherever they occur, and undefined members', () => {
    const added = { tools: { db: base.db, now: base.now }, none: undefined };
    expect(of(added, { cookie: 'a' })).toBe(of({ tools: {} }, { cookie: 'b' }));
  });

  const deep = (levels: number): object => (levels === 0 ? {} : { a: deep(levels - 1) });
  const throwing = (): never => {
    throw new Error('user code was run');
  };
  const marked = (object: object, key: string | symbol): object => Object.defineProperty(object, key, { value: 'ada' });

  it.each<[string, () => object]>([
    ['a Map', () => ({ session: new Map([['a', 1]]) })],
    ['a Set', () => ({ session: new Set(['ada']) })],
    [
      'a Map with the prototype of a plain object',
      () => ({ session: Object.setPrototypeOf(new Map(), Object.prototype) }),
    ],
    ['a RegExp', () => ({ session: /ada/ })],
    ['a promise', () => ({ session: Promise.resolve('ada') })],
    ['an error', () => ({ session: new Error('ada') })],
    ['bytes', () => ({ session: new Uint8Array([1]) })],
    ['a symbol', () => ({ session: Symbol('ada') })],
    ['a boxed string', () => ({ session: Object('ada') })],
    ['a class instance without an id', () => ({ session: new (class Session {})() })],
    [
      'an object with a private field',
      () => ({
        session: new (class {
          readonly #user = 'ada';
          name = () => this.#user;
        })(),
      }),
    ],
    ['an object that inherits', () => ({ session: Object.create({ user: 'ada' }) })],
    ['an inherited id', () => ({ session: Object.create({ id: 'ada' }) })],
    ['a getter', () => ({ session: Object.defineProperty({}, 'user', { enumerable: true, get: throwing }) })],
    ['a setter', () => ({ session: Object.defineProperty({}, 'user', { enumerable: true, set: throwing }) })],
    ['a non-enumerable getter', () => ({ session: Object.defineProperty({}, 'user', { get: throwing }) })],
    ['a non-enumerable member', () => ({ session: marked({}, 'user') })],
    ['a non-enumerable id', () => ({ session: marked({}, 'id') })],
    ['a key that is a symbol', () => ({ session: { [Symbol('user')]: 'ada' } })],
    ['a non-enumerable key that is a symbol', () => ({ session: marked({}, Symbol('user')) })],
    ['a non-enumerable member at the top level', () => marked({ tenant: 't' }, 'user')],
    ['a symbol at the top level', () => marked({ tenant: 't' }, Symbol('user'))],
    [
      'a getter at the top level',
      () => ({
        get user() {
          return throwing();
        },
      }),
    ],
    ['a function', () => ({ tenant: 't', name: () => 'ada' })],
    ['a function in an object', () => ({ user: { tenant: 't', name: () => 'ada' } })],
    ['a list with a named member', () => ({ session: Object.assign(['a'], { user: 'ada' }) })],
    ['a list with holes', () => ({ session: new Array(1) })],
    ['a list of a subclass', () => ({ session: new (class List extends Array {})() })],
    ['a Date with a named member', () => ({ session: Object.assign(new Date(0), { user: 'ada' }) })],
    ['a Date of a subclass', () => ({ session: new (class At extends Date {})(0) })],
    ['a value that is too deep', () => deep(MAX_DEPTH + 1)],
    [
      'a cycle',
      () => {
        const session: { self?: object } = {};
        session.self = session;
        return { session };
      },
    ],
    [
      'a proxy',
      () => ({ session: new Proxy({ id: 'ada' }, { ownKeys: throwing, get: throwing, getPrototypeOf: throwing }) }),
    ],
    [
      'a revoked proxy',
      () => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        return { session: proxy };
      },
    ],
  ])('includes the request if the context has %s', (_, added) => {
    expect(of(added(), { cookie: 'ada' })).toBe(of(added(), { cookie: 'ada', 'user-agent': 'x' }));
    // A tenant is often identified by the requested host, or by the origin of its page.
    for (const name of ['cookie', 'authorization', 'x-user', 'x-api-key', 'host', 'origin', 'x-forwarded-host']) {
      expect(of(added(), { [name]: 'ada' })).not.toBe(of(added(), { [name]: 'eve' }));
    }
    const from = (ip: string, url: string) =>
      callerFingerprint({ ...base, f: () => 1 }, base, { headers: {}, ip, url });
    expect(from('::1', '/')).toBe(from('::1', '/'));
    expect(from('::1', '/live')).toBe(from('::1', '/live/session'));
    expect(new Set([from('::1', '/'), from('::2', '/'), from('::1', '/?user=ada')]).size).toBe(3);
    // The request that opens a stream has no `Origin`, but later requests of its session do.
    const session = (headers: Record<string, string>) =>
      callerFingerprint({ ...base, session: new Map() }, base, { headers, ip: '::1', url: '/' }, { session: true });
    expect(session({ host: 'a', origin: 'http://a' })).toBe(session({ host: 'a' }));
    // The client's retries differ only in these headers.
    const again = {
      'sec-fetch-mode': 'cors',
      'convoy-position': '2',
      'convoy-session': 'b',
      'idempotency-key': 'k',
      'content-length': '9',
    };
    expect(of(added(), { cookie: 'ada', 'convoy-position': '1' })).toBe(of(added(), { cookie: 'ada', ...again }));
  });

  it('of a session stays the same when its token is renewed, also if the context has functions beside data', () => {
    const session = (added: object, cookie: string) =>
      callerFingerprint({ ...base, ...added }, base, { headers: { cookie } }, { session: true });
    expect(session({ user: 'ada', can: () => true }, 'old')).toBe(session({ user: 'ada', can: () => true }, 'new'));
    expect(session({ user: 'ada', can: () => true }, 'old')).not.toBe(session({ user: 'eve', can: () => true }, 'old'));
    for (const added of [{ can: () => true }, { session: new Map() }]) {
      expect(session(added, 'ada')).not.toBe(session(added, 'eve'));
    }
  });

  it('includes the request if the context is a class instance, which may have private state', () => {
    class Context {
      readonly #user = 'ada';
      readonly db = base.db;
      name = () => this.#user;
    }
    const made = (cookie: string) => callerFingerprint(new Context(), base, { headers: { cookie } });
    expect(made('ada')).not.toBe(made('eve'));
  });

  it('reads members as deep as the limit, and refuses to repeat a call whose context is deeper', () => {
    const again = (levels: number, cookie: string) => of(deep(levels), { cookie, 'convoy-attempt': '2' });
    expect(again(MAX_DEPTH, 'old')).toBe(again(MAX_DEPTH, 'new'));
    const refusal = { code: 'CONFLICT', details: { repeatable: false } };
    expect(() => again(MAX_DEPTH + 1, 'old')).toThrow(expect.objectContaining(refusal));
  });

  it('is the same for all contexts without added members', () => {
    expect(callerFingerprint(base, base, anonymous)).toBe(
      callerFingerprint({ ...base }, base, { headers: { cookie: 'x' } }),
    );
  });
});
