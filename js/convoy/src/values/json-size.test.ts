import { types } from 'node:util';
import { describe, expect, it } from 'vitest';
import { jsonSize, jsonSizeAtMost, measureJson, steadyCopy } from './json-size.js';

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
  { at: new Date(0), own: { toJSON: () => ({ said: 'so' }) } },
];

describe('the size of JSON text', () => {
  it.each(values.map((value) => [value]))('is what the text has: %j', (value) => {
    expect(jsonSize(value, 1_000)).toBe(bytes(value));
    expect(jsonSize(value, bytes(value))).toBe(bytes(value));
    expect(jsonSize(value, bytes(value) - 1)).toBe(Number.POSITIVE_INFINITY);
    expect(jsonSizeAtMost(value, 10_000)).toBeGreaterThanOrEqual(bytes(value));
  });

  it('looks no further than the limit', () => {
    let looked = 0;
    const endless = new Proxy([], {
      get: (target, key) => {
        if (key === 'length') return 1e9;
        if (typeof key === 'string' && /^\d+$/.test(key)) looked += 1;
        return Reflect.get(target, key);
      },
    });
    expect(jsonSize([endless], 1_000)).toBe(Number.POSITIVE_INFINITY);
    expect(looked).toBeLessThan(1_000);
    // What is small in memory and has no end as a text.
    let laughs: unknown = 'ha';
    for (let level = 0; level < 60; level++) laughs = [laughs, laughs];
    expect(jsonSize(laughs, 10_000)).toBe(Number.POSITIVE_INFINITY);
  });

  it('makes nothing of many bytes: their toJSON is an array of numbers', () => {
    let made = 0;
    class Bytes extends Uint8Array {
      toJSON() {
        made += 1;
        return [...this];
      }
    }
    expect(jsonSize(new Bytes(1_000), 1_000)).toBe(Number.POSITIVE_INFINITY);
    expect(made).toBe(0);
    expect(jsonSize(new Bytes([1, 20]), 1_000)).toBe(bytes(new Bytes([1, 20])));
    for (const some of [new Uint8Array(20), Buffer.alloc(20), new DataView(new ArrayBuffer(20))]) {
      expect(jsonSize(some, 1_000)).toBe(bytes(some));
    }
  });

  it('leaves what contains itself to those who refuse it', () => {
    const round: { me?: unknown } = {};
    round.me = round;
    expect(jsonSize(round, 1_000)).toBeLessThan(1_000);
  });
});

describe('a value whose own code gives its JSON', () => {
  let calls = 0;
  const growing = () => (calls++ === 0 ? 1 : 'x'.repeat(1_000));
  const unsteady: [string, unknown][] = [
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

  it.each(unsteady)('is not steady: %s', (_what, value) => {
    calls = 0;
    expect(measureJson(value, { most: 100_000, isProxy: types.isProxy }).steady).toBe(false);
    calls = 1;
    expect(steadyCopy(value, 10)).toBeUndefined();
    const copied = steadyCopy(value, 100_000);
    const text = JSON.stringify(copied?.copy);
    expect(text).toContain('xxx');
    // Nothing runs for the copy any more.
    const before = calls;
    expect(JSON.stringify(copied?.copy)).toBe(text);
    expect(measureJson(copied?.copy, { most: 100_000, isProxy: types.isProxy })).toEqual({
      size: expect.any(Number),
      steady: true,
    });
    expect(calls).toBe(before);
  });

  it.each(values.slice(0, -1).map((value) => [value]))('and plain data is: %j', (value) => {
    expect(measureJson(value, { most: 1_000, isProxy: types.isProxy }).steady).toBe(true);
    expect(JSON.stringify(steadyCopy(value, 1_000)?.copy)).toBe(JSON.stringify(value));
  });
});
