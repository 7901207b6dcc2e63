import { describe, expect, it } from 'vitest';
import { callerFingerprint } from './caller-fingerprint.js';

const base = { db: new (class Db {})(), now: () => 1, runQuery: async () => null };
const nobody = { headers: {} };
const of = (added: object, headers: Record<string, string> = {}) =>
  callerFingerprint(Object.defineProperties({ ...base }, Object.getOwnPropertyDescriptors(added)), base, { headers });

describe('an identity', () => {
  it('is a short text that cannot be read back', () => {
    expect(of({ user: 'ada@example.org' })).toMatch(/^[\w-]{43}$/);
  });

  it('tells people apart by what their context says of them', () => {
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

  it('does not depend on the order in which members were written', () => {
    expect(of({ a: 1, b: { c: 2, d: 3 } })).toBe(of({ b: { d: 3, c: 2 }, a: 1 }));
  });

  it('stays when a token is renewed or the user’s document changes', () => {
    const before = of({ user: { id: 'users:1', seen: 1 }, expiresAt: 1 }, { authorization: 'Bearer old' });
    const after = of(
      { user: { id: 'users:1', seen: 2, tags: new Set() }, expiresAt: 2 },
      { authorization: 'Bearer new' },
    );
    expect(after).toBe(before);
    expect(of({ user: { id: 'users:2', seen: 1 } })).not.toBe(before);
    expect(of({ user: { id: 7 } })).not.toBe(of({ user: { id: 8 } }));
  });

  it('takes an object of a class by its id, and no member of the context for all of it', () => {
    class User {
      constructor(
        readonly id: string,
        readonly seen: number,
      ) {}
    }
    expect(of({ user: new User('u1', 1) }, { cookie: 'a' })).toBe(of({ user: new User('u1', 2) }, { cookie: 'b' }));
    expect(of({ id: 'request', user: 'ada' })).not.toBe(of({ id: 'request', user: 'eve' }));
  });

  it('ignores what the base brought, wherever it was put, and what is undefined', () => {
    const added = { tools: { db: base.db, now: base.now }, none: undefined };
    expect(of(added, { cookie: 'a' })).toBe(of({ tools: {} }, { cookie: 'b' }));
  });

  const deep = (levels: number): object => (levels === 0 ? {} : { a: deep(levels - 1) });
  const throwing = (): never => {
    throw new Error('nothing of the user’s is run');
  };
  const marked = (object: object, key: string | symbol): object => Object.defineProperty(object, key, { value: 'ada' });

  it.each<[string, () => object]>([
    ['a Map', () => ({ session: new Map([['a', 1]]) })],
    ['a Set', () => ({ session: new Set(['ada']) })],
    ['a Map that says it is plain', () => ({ session: Object.setPrototypeOf(new Map(), Object.prototype) })],
    ['a RegExp', () => ({ session: /ada/ })],
    ['a promise', () => ({ session: Promise.resolve('ada') })],
    ['an error', () => ({ session: new Error('ada') })],
    ['bytes', () => ({ session: new Uint8Array([1]) })],
    ['a symbol', () => ({ session: Symbol('ada') })],
    ['a boxed text', () => ({ session: Object('ada') })],
    ['an object of a class without an id', () => ({ session: new (class Session {})() })],
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
    ['a hidden getter', () => ({ session: Object.defineProperty({}, 'user', { get: throwing }) })],
    ['a hidden member', () => ({ session: marked({}, 'user') })],
    ['a hidden id', () => ({ session: marked({}, 'id') })],
    ['a key that is a symbol', () => ({ session: { [Symbol('user')]: 'ada' } })],
    ['a hidden key that is a symbol', () => ({ session: marked({}, Symbol('user')) })],
    ['a hidden member of its own', () => marked({ tenant: 't' }, 'user')],
    ['a symbol of its own', () => marked({ tenant: 't' }, Symbol('user'))],
    [
      'a getter of its own',
      () => ({
        get user() {
          return throwing();
        },
      }),
    ],
    ['a function', () => ({ tenant: 't', name: () => 'ada' })],
    ['a function inside', () => ({ user: { tenant: 't', name: () => 'ada' } })],
    ['a list with more than elements', () => ({ session: Object.assign(['a'], { user: 'ada' }) })],
    ['a list with holes', () => ({ session: new Array(1) })],
    ['a list of a class', () => ({ session: new (class List extends Array {})() })],
    ['a Date with more than a time', () => ({ session: Object.assign(new Date(0), { user: 'ada' }) })],
    ['a Date of a class', () => ({ session: new (class At extends Date {})(0) })],
    ['what is too deep', () => deep(20)],
    [
      'a circle',
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
      'a proxy that was revoked',
      () => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        return { session: proxy };
      },
    ],
  ])('counts the request as well where the context has %s', (_, added) => {
    expect(of(added(), { cookie: 'ada' })).toBe(of(added(), { cookie: 'ada', 'user-agent': 'x' }));
    // A tenant is often told by the address it is served at, or by that of its page.
    for (const name of ['cookie', 'authorization', 'x-user', 'x-api-key', 'host', 'origin', 'x-forwarded-host']) {
      expect(of(added(), { [name]: 'ada' })).not.toBe(of(added(), { [name]: 'eve' }));
    }
    const from = (ip: string, url: string) =>
      callerFingerprint({ ...base, f: () => 1 }, base, { headers: {}, ip, url });
    expect(from('::1', '/')).toBe(from('::1', '/'));
    expect(from('::1', '/live')).toBe(from('::1', '/live/session'));
    expect(new Set([from('::1', '/'), from('::2', '/'), from('::1', '/?user=ada')]).size).toBe(3);
    // A stream is opened without an `Origin` that later requests of its session have.
    const session = (headers: Record<string, string>) =>
      callerFingerprint({ ...base, session: new Map() }, base, { headers, ip: '::1', url: '/' }, { session: true });
    expect(session({ host: 'a', origin: 'http://a' })).toBe(session({ host: 'a' }));
    // A repetition of ours is the same but for these.
    const again = {
      'sec-fetch-mode': 'cors',
      'convoy-position': '2',
      'convoy-session': 'b',
      'idempotency-key': 'k',
      'content-length': '9',
    };
    expect(of(added(), { cookie: 'ada', 'convoy-position': '1' })).toBe(of(added(), { cookie: 'ada', ...again }));
  });

  it('of a session stays when its token is renewed, also where functions stand beside data', () => {
    const session = (added: object, cookie: string) =>
      callerFingerprint({ ...base, ...added }, base, { headers: { cookie } }, { session: true });
    expect(session({ user: 'ada', can: () => true }, 'old')).toBe(session({ user: 'ada', can: () => true }, 'new'));
    expect(session({ user: 'ada', can: () => true }, 'old')).not.toBe(session({ user: 'eve', can: () => true }, 'old'));
    for (const added of [{ can: () => true }, { session: new Map() }]) {
      expect(session(added, 'ada')).not.toBe(session(added, 'eve'));
    }
  });

  it('counts it, too, where the context is of a class, which may hide who it is', () => {
    class Context {
      readonly #user = 'ada';
      readonly db = base.db;
      name = () => this.#user;
    }
    const made = (cookie: string) => callerFingerprint(new Context(), base, { headers: { cookie } });
    expect(made('ada')).not.toBe(made('eve'));
  });

  it('of a context that adds nothing is the same for all', () => {
    expect(callerFingerprint(base, base, nobody)).toBe(
      callerFingerprint({ ...base }, base, { headers: { cookie: 'x' } }),
    );
  });
});
