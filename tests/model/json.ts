/** Random JSON, from values that are error-prone in JSON, JavaScript and Postgres. */
import type { Random } from './random.js';

const KEYS = [
  ...['a', 'b', '', ' ', '__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'length', 'then'],
  ...['toJSON', 'id', '_creationTime', '~', '$ref', '0', '-1', '1e3', 'a.b', '.', '"', "'", '\\', '\\u0000', '\n'],
  ...[
    '\u0001',
    '\u007f',
    '\u2028',
    '\ufeff',
    '😀',
    '👩‍👩‍👧',
    'é',
    'e\u0301',
    '\uffff',
    '𝒳',
    '; drop table bags;--',
    'null',
  ],
  'k'.repeat(300),
];
const TEXTS = [
  ...[
    '',
    ' ',
    'plain',
    'grüß dich 👋',
    '\u0001\u001f\u007f',
    '\b\f\n\r\t',
    '"\\/',
    '\\u0000',
    '\\ud800',
    '\u2028\u2029',
  ],
  ...[
    '\ufeff',
    '\uffff',
    '\ue000',
    '\ud7ff',
    '𝒳',
    '\u{10ffff}',
    '👩‍👩‍👧',
    'e\u0301',
    'é',
    'ﬀ',
    '日本語',
    "'; drop table bags; --",
  ],
  ...[
    '$1',
    '%s',
    '{"a":1}',
    '[1]',
    'null',
    'true',
    '1e5',
    '-0',
    'NaN',
    'Infinity',
    '\u202eright to left',
    'x'.repeat(5_000),
  ],
];
const NUMBERS = [
  ...[0, -0, 1, -1, 0.1, 0.2, 0.1 + 0.2, 1 / 3, 1.5, 1e21, 1e-7, 123_456_789.123_456_79, 2 ** 53, 2 ** 53 + 2],
  ...[Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, -(2 ** 53), 2 ** 31, 2 ** 63, -(2 ** 63), 2 ** 64, 1e308],
  ...[Number.MAX_VALUE, -Number.MAX_VALUE, Number.MIN_VALUE, -Number.MIN_VALUE, 2.225_073_858_507_201_4e-308, 1e-323],
  ...[4.35, 5e-324, 1.797_693_134_862_315_7e308, Number.EPSILON, 0.000_001, 1e-6, 123e-20],
];

/** A random value with at most `depth` levels. */
export function randomJson(random: Random, depth: number): unknown {
  const kind = random.weighted({ text: 4, number: 4, other: 2, array: depth > 0 ? 2 : 0, object: depth > 0 ? 3 : 0 });
  switch (kind) {
    case 'text':
      return random.chance(0.5) ? random.pick(TEXTS) : randomText(random);
    case 'number':
      return random.chance(0.5) ? random.pick(NUMBERS) : randomNumber(random);
    case 'other':
      return random.pick([true, false, null]);
    case 'array':
      return Array.from({ length: random.below(4) }, () => randomJson(random, depth - 1));
    case 'object': {
      const object = {};
      for (let left = random.below(5); left > 0; left--) {
        const key = random.chance(0.7) ? random.pick(KEYS) : randomText(random);
        define(object, key, randomJson(random, depth - 1));
      }
      return object;
    }
  }
}

/** The value after JSON: equal, except that -0 becomes 0. */
export function afterJson(value: unknown): unknown {
  if (Object.is(value, -0)) return 0;
  if (Array.isArray(value)) return value.map(afterJson);
  if (typeof value !== 'object' || value === null) return value;
  const object = {};
  for (const [key, inner] of Object.entries(value)) define(object, key, afterJson(inner));
  return object;
}

/** A value inside `levels` arrays. */
export function nested(levels: number, inside: unknown = 'leaf'): unknown {
  let value = inside;
  for (let left = levels; left > 0; left--) value = [value];
  return value;
}

/** Sets an own property, also one called `__proto__`. */
function define(object: object, key: string, value: unknown): void {
  Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

function randomText(random: Random): string {
  let text = '';
  for (let left = random.below(20); left > 0; left--) {
    const point = 1 + random.below(random.pick([0x7f, 0x7ff, 0xfffe, 0x10ffff]));
    // Lone surrogates are not valid text.
    text += point >= 0xd800 && point <= 0xdfff ? '?' : String.fromCodePoint(point);
  }
  return text;
}

/** Any finite double. */
function randomNumber(random: Random): number {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setUint32(0, random.below(2 ** 32));
  bytes.setUint32(4, random.below(2 ** 32));
  const number = bytes.getFloat64(0);
  return Number.isFinite(number) ? number : random.below(2 ** 32);
}
