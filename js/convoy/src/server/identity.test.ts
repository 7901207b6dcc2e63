import { describe, expect, it } from 'vitest';
import { identityOf } from './identity.js';

const base = { db: new (class Db {})(), now: () => 1, runQuery: async () => null };
const nobody = { headers: {} };
const of = (added: object, headers: Record<string, string> = {}) =>
  identityOf({ ...base, ...added }, base, { headers });

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

  it('ignores functions and what the base brought, wherever it was put', () => {
    expect(of({ signedIn: () => true, tools: { db: base.db, now: base.now }, none: undefined })).toBe(
      of({ tools: {} }),
    );
  });

  it.each<[string, () => object]>([
    ['a Map', () => ({ session: new Map([['a', 1]]) })],
    ['an object of a class without an id', () => ({ session: new (class Session {})() })],
    ['a getter', () => ({ session: Object.defineProperty({}, 'user', { enumerable: true, get: () => 'ada' }) })],
    [
      'a circle',
      () => {
        const session: { self?: object } = {};
        session.self = session;
        return { session };
      },
    ],
    [
      'a proxy that refuses',
      () => ({
        session: new Proxy(
          {},
          {
            getOwnPropertyDescriptor: () => {
              throw new Error('no');
            },
          },
        ),
      }),
    ],
  ])('falls back on the request’s credentials where the context has %s', (_, added) => {
    expect(of(added(), { cookie: 'ada' })).toBe(of(added(), { cookie: 'ada', 'user-agent': 'x' }));
    expect(of(added(), { cookie: 'ada' })).not.toBe(of(added(), { cookie: 'eve' }));
    expect(of(added(), { authorization: 'a' })).not.toBe(of(added(), { authorization: 'e' }));
  });

  it('falls back on them, too, where the context is of a class, which may hide who it is', () => {
    class Context {
      readonly #user = 'ada';
      readonly db = base.db;
      name = () => this.#user;
    }
    const made = (cookie: string) => identityOf(new Context(), base, { headers: { cookie } });
    expect(made('ada')).not.toBe(made('eve'));
  });

  it('of a context that adds nothing is the same for all', () => {
    expect(identityOf(base, base, nobody)).toBe(identityOf({ ...base }, base, { headers: { cookie: 'x' } }));
  });
});
