import { types } from 'node:util';
import { describe, expect, it } from 'vitest';
import { jsonSize, measureJson, plainCopy } from './json-size.js';

const bytes = (value: unknown) => Buffer.byteLength(JSON.stringify(value));

const values: unknown[] = [
  null,
  true,
  false,
  -1.5e-7,
  '',
  'plain',
  'ä€"\\\b\t\n\f\r\u0000\u001f',
  '😀 and half \ud83d of one, \ude00',
  [],
  [1, 'two', [null]],
  {},
  { a: 1, left: undefined, run: () => 1, 'ü"': { b: [] } },
  new Date(0),
  { at: new Date(0), own: { toJSON: () => ({ ok: 'yes' }) } },
];

describe('the size of JSON', () => {
  it.each(values.map((value) => [value]))('equals the size of the text: %j', (value) => {
    expect(jsonSize(value, 1_000)).toBe(bytes(value));
    expect(jsonSize(value, bytes(value))).toBe(bytes(value));
    expect(jsonSize(value, bytes(value) - 1)).toBe(Number.POSITIVE_INFINITY);
    expect(measureJson(value, { limit: 10_000 }).size).toBeGreaterThanOrEqual(bytes(value));
  });

  it('is not measured beyond the limit', () => {
    let visited = 0;
    const endless = new Proxy([], {
      get: (target, key) => {
        if (key === 'length') return 1e9;
        if (typeof key === 'string' && /^\d+$/.test(key)) visited += 1;
        return Reflect.get(target, key);
      },
    });
    expect(jsonSize([endless], 1_000)).toBe(Number.POSITIVE_INFINITY);
    expect(visited).toBeLessThan(1_000);
    // Small in memory, and exponentially large as a text.
    let laughs: unknown = 'ha';
    for (let level = 0; level < 60; level++) laughs = [laughs, laughs];
    expect(jsonSize(laughs, 10_000)).toBe(Number.POSITIVE_INFINITY);
  });

  it('does not call toJSON of a large byte array, which would create an array of numbers', () => {
    let calls = 0;
    class Bytes extends Uint8Array {
      toJSON() {
        calls += 1;
        return [...this];
      }
    }
    expect(jsonSize(new Bytes(1_000), 1_000)).toBe(Number.POSITIVE_INFINITY);
    expect(calls).toBe(0);
    expect(jsonSize(new Bytes([1, 20]), 1_000)).toBe(bytes(new Bytes([1, 20])));
    for (const some of [new Uint8Array(20), Buffer.alloc(20), new DataView(new ArrayBuffer(20))]) {
      expect(jsonSize(some, 1_000)).toBe(bytes(some));
    }
  });

  it('stops at a cycle, which is rejected elsewhere', () => {
    const round: { me?: unknown } = {};
    round.me = round;
    expect(jsonSize(round, 1_000)).toBeLessThan(1_000);
  });
});

describe('a value with getters, toJSON or a proxy', () => {
  let calls = 0;
  const growing = () => (calls++ === 0 ? 1 : 'x'.repeat(1_000));
  const computed: [string, unknown][] = [
    [
      'a getter',
      {
        get a() {
          return growing();
        },
      },
    ],
    ['a getter deep inside', [{ b: [Object.defineProperty({}, 'a', { enumerable: true, get: growing })] }]],
    ['a getter of an array', Object.defineProperty([0], 0, { enumerable: true, get: growing })],
    ['toJSON', { toJSON: growing }],
    [
      'an inherited toJSON',
      new (class {
        toJSON() {
          return growing();
        }
      })(),
    ],
    ['a proxy', new Proxy({ a: 1 }, { get: (target, key) => (key === 'a' ? growing() : Reflect.get(target, key)) })],
  ];

  it.each(computed)('is not plain: %s', (_what, value) => {
    calls = 0;
    expect(measureJson(value, { limit: 100_000, isProxy: types.isProxy }).plain).toBe(false);
    calls = 1;
    expect(plainCopy(value, 10)).toBeUndefined();
    const copied = plainCopy(value, 100_000);
    const text = JSON.stringify(copied?.copy);
    expect(text).toContain('xxx');
    // Serializing the copy runs no user code.
    const before = calls;
    expect(JSON.stringify(copied?.copy)).toBe(text);
    expect(measureJson(copied?.copy, { limit: 100_000, isProxy: types.isProxy })).toEqual({
      size: expect.any(Number),
      plain: true,
    });
    expect(calls).toBe(before);
  });

  it.each(values.slice(0, -1).map((value) => [value]))('plain data is plain: %j', (value) => {
    expect(measureJson(value, { limit: 1_000, isProxy: types.isProxy }).plain).toBe(true);
    expect(JSON.stringify(plainCopy(value, 1_000)?.copy)).toBe(JSON.stringify(value));
  });
});
