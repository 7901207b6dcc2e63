import { describe, expect, it } from 'vitest';
import { canonicalText, MAX_DEPTH, MAX_LENGTH } from './canonical.js';

describe('the canonical text', () => {
  const cycle = (): object => {
    const one: { self?: object } = {};
    one.self = one;
    return one;
  };
  const once = { a: 1 };

  it('of plain data differs for different values, even with the same JSON', () => {
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
      cycle(),
      { self: cycle() },
      'x'.repeat(300),
      ['x'.repeat(300)],
      { a: 'x'.repeat(300) },
    ];
    const texts = values.map((value) => canonicalText(value));
    expect(texts.every((text) => text !== null && text.length <= 256)).toBe(true);
    expect(new Set(texts).size).toBe(values.length);
  });

  it('exists for values of the limits', () => {
    // Two characters are quotation marks; the keys and the number of the object have four.
    for (const value of ['x'.repeat(MAX_LENGTH - 2), { a: 'x'.repeat(MAX_LENGTH - 6), b: 10 }, deep(MAX_DEPTH - 1)]) {
      expect(canonicalText(value)).toMatch(/^sha256:/);
    }
  });

  it('is equal for equal values', () => {
    const user = () => ({ id: 'users:1', roles: ['a', 'b'], team: { name: 'x', since: null } });
    expect(canonicalText(user())).toBe(canonicalText(user()));
    expect(canonicalText(cycle())).toBe(canonicalText(cycle()));
    expect(canonicalText('x'.repeat(300))).toBe(canonicalText('x'.repeat(300)));
  });

  class Session {
    readonly #user = 'ada';
    name = (): string => this.#user;
  }
  const throwing = (): never => {
    throw new Error('user code was run');
  };
  const deep = (levels: number): object => (levels === 0 ? {} : { a: deep(levels - 1) });

  it.each<[string, unknown]>([
    ['a Set', new Set(['ada'])],
    ['a Map', new Map([['user', 'ada']])],
    ['a Date', new Date(0)],
    ['an instance of a class', new Session()],
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
          return throwing();
        },
      },
    ],
    ['a non-enumerable member', Object.defineProperty({}, 'user', { value: 'ada' })],
    ['a read-only member', Object.defineProperty({}, 'user', { value: 'ada', enumerable: true })],
    ['an object that is not extensible', Object.preventExtensions({ user: 'ada' })],
    ['an object without a prototype', Object.assign(Object.create(null), { user: 'ada' })],
    ['an object with another prototype', Object.create({ user: 'ada' })],
    ['an array with a hole', Object.assign(new Array(3), { 0: 1, 2: 2 })],
    ['an array with a named member', Object.assign([1], { user: 'ada' })],
    ['an array with a hole and a named member', Object.assign(new Array(1), { user: 'ada' })],
    ['an array of a class', new (class List extends Array {})()],
    ['a proxy of plain data', new Proxy({ user: 'ada' }, { get: throwing, ownKeys: throwing })],
    [
      'a revoked proxy',
      (() => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        return proxy;
      })(),
    ],
    ['a value that is too deep', deep(MAX_DEPTH)],
    ['a string that is too long', 'x'.repeat(MAX_LENGTH - 1)],
    ['a value that is too large', Array.from({ length: 10_000 }, () => 'xxxxxx')],
    ['members that are too long together', { a: 'x'.repeat(MAX_LENGTH - 5), b: 10 }],
  ])('does not exist for %s, nor for a value that contains it', (_, value) => {
    expect(canonicalText(value)).toBeNull();
    expect(canonicalText({ a: [value] })).toBeNull();
  });
});
