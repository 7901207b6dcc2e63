import { describe, expect, it } from 'vitest';
import { defineSchema } from '../schema/index.js';
import { MAX_RATE } from './function-limits.js';
import { action, internalQuery, mutation, query, route } from './functions.js';
import { describeFunctions, describeProgram } from './program.js';

const handler = () => null;
const rateLimit = { per: 'address', tokens: 5, refillPerSecond: 0.5 } as const;

describe('limits of a function', () => {
  it('are described for the engine', () => {
    const described = describeFunctions({
      a: {
        read: query({ timeoutMs: 1, maxDocumentsRead: 0, resultBytes: 1, handler }),
        write: mutation({ retries: 0, maxDocumentsWritten: 7, rateLimit, handler }),
        plain: action({ handler }),
      },
    });
    expect(described.map(({ name, limits, rateLimit }) => [name, limits, rateLimit])).toEqual([
      ['a.plain', undefined, undefined],
      ['a.read', { timeoutMs: 1, maxDocumentsRead: 0, resultBytes: 1 }, undefined],
      ['a.write', { retries: 0, maxDocumentsWritten: 7 }, rateLimit],
    ]);
  });

  it.each([
    ['timeoutMs', query, 1, 600_000],
    ['timeoutMs', mutation, 1, 600_000],
    ['timeoutMs', action, 1, 86_400_000],
    ['retries', mutation, 0, 100],
    ['maxDocumentsRead', query, 0, 10_000_000],
    ['maxDocumentsWritten', action, 0, 10_000_000],
    ['resultBytes', query, 1, 268_435_456],
  ] as const)('have a range: %s', (name, build, min, max) => {
    const define = (value: unknown) => (build as typeof mutation)({ [name]: value, handler } as never);
    for (const value of [min, max]) expect(define(value).limits).toEqual({ [name]: value });
    for (const value of [min - 1, max + 1, 1.5, '1', Number.NaN, null]) {
      expect(() => define(value)).toThrow(`\`${name}\` is a whole number from`);
    }
  });

  it('are refused where they mean nothing', () => {
    expect(() => query({ retries: 1, handler } as never)).toThrow('query({ … }): `retries` is no limit');
    expect(() => action({ retries: 1, handler } as never)).toThrow('`retries` is no limit');
    expect(() => query({ maxDocumentsWritten: 1, handler } as never)).toThrow('`maxDocumentsWritten` is no limit');
    expect(() => internalQuery({ rateLimit, handler })).toThrow('internalQuery({ … }): a `rateLimit` is for functions');
  });
});

describe('a rate limit', () => {
  it.each([
    [{ ...rateLimit, tokens: 1, refillPerSecond: 1 / 86_400 }],
    [{ ...rateLimit, tokens: MAX_RATE, refillPerSecond: MAX_RATE }],
    [{ ...rateLimit, per: 'identity' as const }],
    [{ ...rateLimit, shared: true }],
  ])('takes %o', (given) => {
    expect(mutation({ rateLimit: given, handler }).rateLimit).toEqual(given);
    expect(route.get('/', { rateLimit: given }, () => new Response()).options.rateLimit).toEqual(given);
  });

  it('is not described for a process that serves no clients', () => {
    const source = {
      schema: defineSchema({}),
      functions: { a: mutation({ rateLimit, timeoutMs: 5, handler }) },
      routes: { page: route.get('/', { rateLimit }, () => new Response()) },
    };
    const described = (onlyLocal: boolean) => JSON.parse(describeProgram(source, { sync: false, onlyLocal }));
    expect(described(false)).toMatchObject({
      functions: [{ rateLimit }, {}, {}, {}],
      routes: [{ options: { rateLimit } }],
    });
    expect(described(true)).toMatchObject({ functions: [{ limits: { timeoutMs: 5 } }, {}, {}, {}], routes: [] });
    expect(described(true).functions[0]).not.toHaveProperty('rateLimit');
  });

  it.each([
    [true, '`rateLimit` is { per'],
    [{ ...rateLimit, per: 'ip' }, '`rateLimit.per` is'],
    [{ ...rateLimit, shared: 'yes' }, '`rateLimit.shared` is true or false; "yes" was given.'],
    [{ ...rateLimit, tokens: 0 }, '`rateLimit.tokens` is a whole number from 1 to 100,000; 0 was given.'],
    [{ ...rateLimit, tokens: MAX_RATE + 1 }, '`rateLimit.tokens`'],
    [{ ...rateLimit, tokens: 1.5 }, '`rateLimit.tokens`'],
    [{ ...rateLimit, refillPerSecond: 0 }, '`rateLimit.refillPerSecond` is a number from'],
    [{ ...rateLimit, refillPerSecond: MAX_RATE + 1 }, '`rateLimit.refillPerSecond`'],
    [{ ...rateLimit, refillPerSecond: Number.NaN }, '`rateLimit.refillPerSecond`'],
    [{ ...rateLimit, burst: 1 }, '`rateLimit` has no option burst'],
  ])('does not take %o', (given, message) => {
    expect(() => mutation({ rateLimit: given, handler } as never)).toThrow(message);
    expect(() => route.get('/', { rateLimit: given } as never, () => new Response())).toThrow(message);
  });
});
