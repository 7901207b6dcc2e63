import { describe, expect, it } from 'vitest';
import { parseJson, parseWithoutEscapedKeys } from './parse-json.js';

it('a key with an escape is read as it is, after one that V8 takes for it', () => {
  for (const [key, written] of [
    ['\n', '\\n'],
    ['"', '\\"'],
    ['A', '\\u0041'],
    ['/', '\\/'],
  ]) {
    expect(parseJson('{"h":[],"\\\\":0}')).toEqual({ h: [], '\\': 0 });
    expect(parseJson(`{"h":1,"${written}":0}`)).toEqual({ h: 1, [String(key)]: 0 });
  }
});

describe('with a detour for keys with escapes', () => {
  it.each([
    ['{"a\\n" : {"\\"b\\"":[1,{"\\\\":"\\\\"}]},"c":"\\n"}', { 'a\n': { '"b"': [1, { '\\': '\\' }] }, c: '\n' }],
    ['["a\\\\",{"b\\\\":"c\\":"}]', ['a\\', { 'b\\': 'c":' }]],
    ['{"\ue000000a":1,"\\ue000":2}', { '\ue000000a': 1, '\ue000': 2 }],
    ['{"\\u0000":1,"\\ud83d\\ude00":2,"\\ud83d":3}', { '\0': 1, '😀': 2, '\ud83d': 3 }],
    ['{"b":1,"\\u0031":2}', { b: 1, '1': 2 }],
    ['"\\n"', '\n'],
    ['7', 7],
  ])('%s is read', (text, value) => {
    const parsed = parseWithoutEscapedKeys(text);
    expect(parsed).toEqual(value);
    expect(JSON.stringify(parsed)).toBe(JSON.stringify(value));
  });

  it('the key `__proto__` is a key like others, and the last of two equal keys counts', () => {
    const parsed = parseWithoutEscapedKeys('{"\\u005f_proto__":{"a":1},"\\n":1,"\\u000a":2}') as object;
    expect(Object.getPrototypeOf(parsed)).toBe(Object.prototype);
    expect(Object.entries(parsed)).toEqual([
      ['__proto__', { a: 1 }],
      ['\n', 2],
    ]);
  });

  it.each(['', '{', '"', '"a\\"', '{"a\\n"}', '{"a\\n":}', '{"\\x":1}', '{"a\\n":1}}', '{"a\n\\n":1}'])(
    'the malformed %j is an error',
    (text) => {
      expect(() => JSON.parse(text)).toThrow(SyntaxError);
      expect(() => parseWithoutEscapedKeys(text)).toThrow(SyntaxError);
    },
  );
});
