import { describe, expect, it } from 'vitest';
import { ConvoyError } from '../values/errors.js';
import { failureJson } from './encode-result.js';
import { ResultError } from './functions.js';

describe('a failure', () => {
  it('is encoded as valid Unicode, even if it contains lone surrogates', () => {
    const details = { '\udc00': ['😀', '\ude00\ud83d', 'a\u0000\n"\\ud800\\\ud800'] };
    const error = new ConvoyError('NOT_FOUND', 'no \ud800 and no 😀', { details });
    expect(JSON.parse(failureJson(error))).toEqual({
      code: 'NOT_FOUND',
      status: 404,
      message: 'no \ufffd and no 😀',
      details: { '\ufffd': ['😀', '\ufffd\ufffd', 'a\u0000\n"\\ud800\\\ufffd'] },
    });
  });

  it('has a bounded length for any thrown value', () => {
    for (const error of [new Error('x'.repeat(1_000_000)), 'y'.repeat(1_000_000), { z: 'z'.repeat(1_000_000) }]) {
      const text = failureJson(error);
      expect(text.length).toBeLessThan(40_000);
      expect(text).toMatch(/more characters/);
    }
  });

  it('has a message of the limit as it is, and one more character is cut', () => {
    const messageOf = (length: number) =>
      (JSON.parse(failureJson(new Error('x'.repeat(length)))) as { thrown: { message: string } }).thrown.message;
    expect(messageOf(16_384)).toBe('x'.repeat(16_384));
    expect(messageOf(16_385)).toBe(`${'x'.repeat(16_384)} … (1 more characters were cut)`);
  });

  it('of a result has no stack frames, because the function has returned', () => {
    expect(JSON.parse(failureJson(new ResultError('a.b: it is a Promise')))).toEqual({
      thrown: { message: 'a.b: it is a Promise', stack: 'ResultError: a.b: it is a Promise' },
    });
  });

  it('of a plain error is encoded as valid Unicode too', () => {
    const { thrown } = JSON.parse(failureJson(new Error('half \ud800'))) as { thrown: Record<string, string> };
    expect(thrown.message).toBe('half \ufffd');
    expect(thrown.stack).toContain('half ');
    expect(`${thrown.stack}`).not.toMatch(/\\ud800|\ud800/u);
  });
});
