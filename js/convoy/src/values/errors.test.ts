import { describe, expect, it } from 'vitest';
import {
  ConvoyError,
  convoyError,
  errorFromPayload,
  errorPayloadFrom,
  isConvoyError,
  statusForCode,
} from './errors.js';

describe('ConvoyError', () => {
  it('has the status of its code by default', () => {
    expect(new ConvoyError('CONFLICT', 'taken').status).toBe(409);
    expect(new ConvoyError('CONFLICT', 'taken', { status: 422 }).status).toBe(422);
    expect(convoyError('NOT_FOUND', 'gone')).toBeInstanceOf(ConvoyError);
    expect(statusForCode('PAYLOAD_TOO_LARGE')).toBe(413);
  });

  it('is recognised across copies of the package, and other values are not', () => {
    const brand = Symbol.for('convoy.error');
    expect(isConvoyError(new ConvoyError('TIMEOUT', 'late'))).toBe(true);
    expect(isConvoyError(Object.assign(new Error('x'), { [brand]: true }))).toBe(true);
    expect(isConvoyError(Object.assign(new Error('x'), { code: 'TIMEOUT', status: 504 }))).toBe(false);
    expect(isConvoyError(null)).toBe(false);
  });

  it('reaches the client whole, while any other error is only INTERNAL', () => {
    const error = new ConvoyError('FORBIDDEN', 'not yours', { details: { owner: 'ada' }, cause: new Error('secret') });
    expect(errorPayloadFrom(error)).toEqual({ code: 'FORBIDDEN', message: 'not yours', details: { owner: 'ada' } });
    const leak = JSON.stringify(errorPayloadFrom(new Error('password=hunter2')));
    expect(leak).toContain('INTERNAL');
    expect(leak).not.toContain('hunter2');
  });

  it('survives serialization as a payload', () => {
    const error = new ConvoyError('RATE_LIMITED', 'slow down', { details: [1], errorId: 'e1' });
    const copy = errorFromPayload(JSON.parse(JSON.stringify(error)));
    expect(copy).toMatchObject({
      code: 'RATE_LIMITED',
      message: 'slow down',
      details: [1],
      errorId: 'e1',
      status: 429,
    });
  });

  it.each([null, '<html>', { code: 'constructor', message: 7 }])(
    'converts the invalid payload %j to INTERNAL',
    (payload) => {
      expect(errorFromPayload(payload)).toMatchObject({ code: 'INTERNAL', status: 500 });
    },
  );
});
