import { describe, expect, it } from 'vitest';
import { hostOf } from '../../../testing/scripted-engine.js';
import { defineSchema } from '../../schema/index.js';
import { createBaseContext } from '../base-context.js';
import type { ConvoyContext, Log } from '../contexts.js';
import { action, type ConvoyFunction, mutation, query } from '../functions.js';
import { MAX_MESSAGE_BYTES } from './call-log.js';
import { MAX_DEPTH, MAX_FIELDS_BYTES, MAX_MEMBERS, MAX_TEXT_BYTES } from './log-fields.js';

type AnyFunction = ConvoyFunction;

const schema = defineSchema({});
const request = JSON.stringify({ headers: {} });

/** Runs a query that logs, and returns the lines. */
async function linesOf(log: (log: Log) => unknown) {
  const { call, engine } = hostOf({ schema, functions: { f: query({ handler: (ctx) => void log(ctx.log) }) } });
  const response = await call('f');
  expect(response).toMatchObject({ ok: true });
  return engine.logged;
}

async function fieldsOf(value: unknown): Promise<unknown> {
  const [line] = await linesOf((log) => log.info('x', value as object));
  expect(JSON.stringify(line?.fields ?? null).length).toBeLessThan(MAX_FIELDS_BYTES * 2);
  return line?.fields;
}

describe('ctx.log', () => {
  it('writes the level, the message, the fields, the function and the call', async () => {
    const functions = {
      q: query({ handler: (ctx) => ctx.log.info('read', { n: 1 }) }),
      m: mutation({ handler: (ctx) => ctx.log.warn('wrote') }),
      a: action({ handler: (ctx) => ctx.log.error('sent', { to: ['ada'] }) }),
    };
    const { call, engine } = hostOf({ schema, functions });
    for (const name of ['q', 'm', 'a']) await call(name);
    expect(engine.logged).toEqual([
      { callId: 1, level: 'info', functionName: 'q', message: 'read', fields: { n: 1 } },
      { callId: 2, level: 'warn', functionName: 'm', message: 'wrote', fields: null },
      { callId: 3, level: 'error', functionName: 'a', message: 'sent', fields: { to: ['ada'] } },
    ]);
  });

  it('is in createContext, and in a function that joins a call', async () => {
    const inner = query({ handler: (ctx: ConvoyContext) => ctx.log.info('inner') });
    const functions = {
      inner,
      outer: query({ handler: async (ctx: ConvoyContext) => void (await ctx.runQuery(inner, {})) }),
    };
    const createContext = (_request: object, base: ConvoyContext) => {
      base.log.info('context');
      return { ...base };
    };
    const { call, engine } = hostOf({ schema, functions, createContext });
    expect(await call('outer', {}, request)).toMatchObject({ ok: true });
    const lines = engine.logged.map(({ message, functionName, callId }) => [message, functionName, callId]);
    expect(lines).toEqual([
      ['context', 'outer', 1],
      ['inner', 'inner', 1],
    ]);
  });

  it('writes lines of the level debug in development and with CONVOY_DEBUG', async () => {
    const functions = { f: query({ handler: (ctx) => ctx.log.debug('detail') }) };
    const count = async (options: { readonly dev?: boolean }) => {
      const { call, engine } = hostOf({ schema, functions }, null, options);
      await call('f');
      return engine.logged.length;
    };
    const before = process.env.CONVOY_DEBUG;
    try {
      delete process.env.CONVOY_DEBUG;
      expect(await count({})).toBe(0);
      expect(await count({ dev: true })).toBe(1);
      process.env.CONVOY_DEBUG = '1';
      expect(await count({})).toBe(1);
    } finally {
      if (before === undefined) delete process.env.CONVOY_DEBUG;
      else process.env.CONVOY_DEBUG = before;
    }
  });

  it('works by its methods alone, and after the function has returned', async () => {
    const kept: Log[] = [];
    const lines = await linesOf((log) => {
      const { info } = log;
      info('alone');
      kept.push(log);
    });
    kept[0]?.info('late');
    expect(lines.map(({ message }) => message)).toEqual(['alone', 'late']);
  });

  it('leaves a log of the program in place, which queries may read like any member', async () => {
    const given: string[] = [];
    const log = { info: (text: string) => given.push(text) };
    const functions = {
      reads: query({ handler: (ctx) => (ctx as unknown as { log: typeof log }).log.info('own') }) as AnyFunction,
      ignores: query({ handler: () => 1 }) as AnyFunction,
    };
    const createContext = (_request: object, base: object) => ({ ...base, log });
    const { call, engine } = hostOf({ schema, functions, createContext });
    const read = await call('reads', {}, request);
    const ignored = await call('ignores', {}, request);
    expect([given, engine.logged]).toEqual([['own'], []]);
    // A function cannot be compared, so a result made with it is not shared; one without it is.
    expect([read.seen, ignored.seen]).toEqual([{ '@@plain': 'true', log: null }, { '@@plain': 'true' }]);
  });

  it('does not count as a read of the context', async () => {
    const createContext = (_request: object, base: object) => ({ ...base, user: 'ada' });
    const functions = { f: query({ handler: (ctx) => ctx.log.info('x') }) };
    const { call } = hostOf({ schema, functions, createContext });
    expect(await call('f', {}, request)).toMatchObject({ ok: true, seen: { '@@plain': 'true' } });
  });

  it('is the console in a context for tests', () => {
    expect(createBaseContext({ db: {} as never }).log).toBe(console);
  });
});

describe('what ctx.log is given', () => {
  const cyclic: Record<string, unknown> = { n: 1 };
  cyclic.self = cyclic;
  const throwing = {
    get bad(): never {
      throw new Error('no');
    },
    good: 1,
  };
  let deep: unknown = 1;
  for (let n = 0; n < 10_000; n++) deep = { deep };

  it.each([
    ['nothing', undefined, null],
    ['null', null, null],
    ['a text', 'text', { value: 'text' }],
    ['an array', [1, undefined], { value: [1, null] }],
    ['a cycle', cyclic, { n: 1, self: '[cyclic]' }],
    ['a getter that throws', throwing, { bad: '[could not be read]', good: 1 }],
    ['a bigint', { n: 2n ** 70n }, { n: String(2n ** 70n) }],
    ['numbers that are none', { a: Number.NaN, b: -0, c: Infinity }, { a: 'NaN', b: 0, c: 'Infinity' }],
    ['a symbol', { s: Symbol('x') }, { s: 'Symbol(x)' }],
    ['a function', { f: () => 1 }, { f: '[function]' }],
    ['dates', { d: new Date(0), no: new Date(Number.NaN) }, { d: '1970-01-01T00:00:00.000Z', no: 'Invalid Date' }],
    [
      'collections',
      { m: new Map([[1, 2]]), s: new Set(), b: new Uint8Array(9) },
      { m: '[Map of 1]', s: '[Set of 0]', b: '[9 bytes]' },
    ],
    ['a URL', { u: new URL('http://a/') }, { u: 'http://a/' }],
    ['a toJSON that throws', { toJSON: () => Promise.reject }, { value: '[function]' }],
    [
      'a proxy',
      new Proxy(
        {},
        {
          ownKeys: () => {
            throw new Error('no');
          },
        },
      ),
      { value: '[proxy]' },
    ],
    ['a broken text', { s: '\ud800' }, { s: '\ud800' }],
    ['a prototype', JSON.parse('{"__proto__":{"a":1}}'), JSON.parse('{"__proto__":{"a":1}}')],
    [
      'secrets',
      { password: 'p', 'Api-Key': 'k', headers: { Authorization: 'Bearer x', accept: '*' }, set_cookie: ['c'] },
      {
        password: '[secret]',
        'Api-Key': '[secret]',
        headers: { Authorization: '[secret]', accept: '*' },
        set_cookie: '[secret]',
      },
    ],
  ])('may be %s', async (_what, given, expected) => {
    expect(await fieldsOf(given)).toEqual(expected);
  });

  it('may be an error, with its cause', async () => {
    const error = new TypeError('outer', { cause: new Error('inner') });
    const expected = { name: 'TypeError', message: 'outer', stack: expect.stringContaining('TypeError: outer') };
    expect(await fieldsOf(error)).toMatchObject({ error: { ...expected, cause: { message: 'inner' } } });
    expect(await fieldsOf({ error })).toMatchObject({ error: expected });
  });

  it('is cut where it is large or deep', async () => {
    expect(JSON.stringify(await fieldsOf(deep))).toContain('[nested too deeply]');
    expect(await fieldsOf({ text: 'x'.repeat(50 << 20) })).toEqual({
      text: expect.stringMatching(/^x+ … \(\d+ more characters were cut\)$/),
    });
    expect(await fieldsOf({ list: Array(1_000_000).fill(1) })).toMatchObject({
      list: expect.arrayContaining([1, '… (999900 more)']),
    });
    const wide = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`key ${n}`, '💥'.repeat(100)]));
    expect(await fieldsOf(wide)).toHaveProperty('…');
    expect(await fieldsOf({ [`${'k'.repeat(1 << 20)}`]: 1 })).toBeDefined();
  });

  /** A text whose JSON has so many bytes. */
  const text = (bytes: number) => 'x'.repeat(bytes - 2);
  const cut = expect.stringMatching(/^x+ … \(\d+ more characters were cut\)$/);

  it('has texts of the limit, and what is more of one is cut', async () => {
    const whole = { text: text(MAX_TEXT_BYTES) };
    expect(await fieldsOf(whole)).toEqual(whole);
    expect(await fieldsOf({ text: text(MAX_TEXT_BYTES + 1) })).toEqual({ text: cut });
  });

  it('has the size of the limit, and what is more is cut', async () => {
    const [a, b] = [text(MAX_TEXT_BYTES), text(MAX_TEXT_BYTES)];
    // Each key takes three bytes.
    const left = MAX_FIELDS_BYTES - 2 * MAX_TEXT_BYTES - 3 * 3;
    const whole = { a, b, c: text(left) };
    expect(await fieldsOf(whole)).toEqual(whole);
    expect(await fieldsOf({ a, b, c: text(left + 1) })).toEqual({ a, b, c: cut });
  });

  it('is as deep as the limit, and a note is in the place of what is deeper', async () => {
    const nested = (depth: number, inner: unknown): unknown => (depth === 0 ? inner : { in: nested(depth - 1, inner) });
    expect(await fieldsOf(nested(MAX_DEPTH, 1))).toEqual(nested(MAX_DEPTH, 1));
    expect(await fieldsOf(nested(MAX_DEPTH + 1, 1))).toEqual(nested(MAX_DEPTH, '[nested too deeply]'));
  });

  it('has lists and objects of as many members as the limit, and more are counted', async () => {
    const list = (length: number) => Array.from({ length }, () => true);
    const object = (length: number) => Object.fromEntries(list(length).map((value, at) => [at, value]));
    const whole = { list: list(MAX_MEMBERS), object: object(MAX_MEMBERS) };
    expect(await fieldsOf(whole)).toEqual(whole);
    expect(await fieldsOf({ list: list(MAX_MEMBERS + 2), object: object(MAX_MEMBERS + 2) })).toEqual({
      list: [...whole.list, '… (2 more)'],
      object: { ...whole.object, '…': '2 more' },
    });
  });

  it('is a message of the limit, and what is more of one is cut', async () => {
    const [whole, more] = await linesOf((log) => {
      log.info(text(MAX_MESSAGE_BYTES));
      log.info(text(MAX_MESSAGE_BYTES + 1));
    });
    expect([whole?.message, more?.message]).toEqual([text(MAX_MESSAGE_BYTES), cut]);
  });

  it('is a message of any type, which is cut as well', async () => {
    const lines = await linesOf((log) => {
      for (const message of [1, null, undefined, Symbol('s'), cyclic, { a: 1 }, '💥'.repeat(1 << 20)]) {
        log.info(message as string);
      }
    });
    const messages = lines.map(({ message }) => message);
    expect(messages.slice(0, 6)).toEqual([
      '1',
      'null',
      'undefined',
      'Symbol(s)',
      '{"n":1,"self":"[cyclic]"}',
      '{"a":1}',
    ]);
    expect(messages[6]).toMatch(/^(💥)+ … \(\d+ more characters were cut\)$/u);
    expect(Buffer.byteLength(messages[6] ?? '')).toBeLessThan(5 << 10);
  });
});
