import { describe, expect, it } from 'vitest';
import { canonicalText } from './canonical.js';

describe('the canonical text', () => {
  const circle = (): object => {
    const one: { self?: object } = {};
    one.self = one;
    return one;
  };
  const once = { a: 1 };

  it('of plain data is theirs alone, whatever they look like as JSON', () => {
    const values: unknown[] = [
      null,
      undefined,
      true,
      false,
      'true',
      'null',
      'void',
      '',
      0,
      -0,
      1,
      '1',
      1n,
      '1n',
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      2 ** 53,
      2n ** 53n,
      '\ud800',
      '\\ud800',
      [],
      {},
      [[]],
      [null],
      [undefined],
      ['a,b'],
      ['a', 'b'],
      { a: 1 },
      { a: '1' },
      { a: undefined },
      { a: 1, b: 2 },
      { b: 2, a: 1 },
      { a: { b: 2 } },
      { 'a":{"b': 2 },
      JSON.parse('{"__proto__":1}'),
      Object.freeze({ a: 1 }),
      Object.freeze([]),
      [{ a: 1 }, { a: 1 }],
      [once, once],
      circle(),
      { self: circle() },
      'x'.repeat(300),
      ['x'.repeat(300)],
      { a: 'x'.repeat(300) },
    ];
    const texts = values.map((value) => canonicalText(value));
    expect(texts.every((text) => text !== null && text.length <= 256)).toBe(true);
    expect(new Set(texts).size).toBe(values.length);
  });

  it('is the same for two of a kind', () => {
    const user = () => ({ id: 'users:1', roles: ['a', 'b'], team: { name: 'x', since: null } });
    expect(canonicalText(user())).toBe(canonicalText(user()));
    expect(canonicalText(circle())).toBe(canonicalText(circle()));
    expect(canonicalText('x'.repeat(300))).toBe(canonicalText('x'.repeat(300)));
  });

  class Session {
    readonly #user = 'ada';
    name = (): string => this.#user;
  }
  const asked = (): never => {
    throw new Error('nothing of the user’s is run');
  };
  const deep = (levels: number): object => (levels === 0 ? {} : { a: deep(levels - 1) });

  it.each<[string, unknown]>([
    ['a Set', new Set(['ada'])],
    ['a Map', new Map([['user', 'ada']])],
    ['a Date', new Date(0)],
    ['an object of a class', new Session()],
    ['a promise', Promise.resolve('ada')],
    ['an error', new Error('ada')],
    ['bytes', new Uint8Array([1])],
    ['a function', () => 'ada'],
    ['a symbol', Symbol('ada')],
    ['a key that is a symbol', { [Symbol('user')]: 'ada' }],
    [
      'a getter',
      {
        get user() {
          return asked();
        },
      },
    ],
    ['a hidden member', Object.defineProperty({}, 'user', { value: 'ada' })],
    ['a member that is fixed by itself', Object.defineProperty({}, 'user', { value: 'ada', enumerable: true })],
    ['an object that takes no more members', Object.preventExtensions({ user: 'ada' })],
    ['an object without a prototype', Object.assign(Object.create(null), { user: 'ada' })],
    ['an object with another prototype', Object.create({ user: 'ada' })],
    ['an array with a hole', Object.assign(new Array(3), { 0: 1, 2: 2 })],
    ['an array with more than elements', Object.assign([1], { user: 'ada' })],
    ['an array with a hole and more than elements', Object.assign(new Array(1), { user: 'ada' })],
    ['an array of a class', new (class List extends Array {})()],
    ['a proxy of plain data', new Proxy({ user: 'ada' }, { get: asked, ownKeys: asked })],
    [
      'a proxy that was revoked',
      (() => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        return proxy;
      })(),
    ],
    ['what is too deep', deep(65)],
    ['what is too long', 'x'.repeat(65_537)],
    ['what is too much', Array.from({ length: 10_000 }, () => 'xxxxxx')],
  ])('does not exist for %s, wherever it stands', (_, value) => {
    expect(canonicalText(value)).toBeNull();
    expect(canonicalText({ a: [value] })).toBeNull();
  });
});
