/** Whatever a handler returns or throws, its call is answered, once, and nothing escapes. */

import { afterEach, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { hostOf } from '../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import { type AnyConvoyFunction, action, mutation, query } from './functions.js';

const schema = defineSchema({ notes: defineTable({ text: z.any() }) });
const REQUEST = JSON.stringify({ method: 'POST', url: '/', headers: {} });

// biome-ignore lint/suspicious/noExplicitAny: these handlers do what types forbid.
type Ctx = any;

const escaped = vi.fn();
for (const event of ['unhandledRejection', 'uncaughtException'] as const) process.on(event, escaped);
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  const seen = escaped.mock.calls.map(([error]) => error);
  escaped.mockClear();
  expect(seen).toEqual([]);
});

function refuse(): never {
  throw new Error('no');
}

function revoked(target: object = {}): object {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

function refusing(): object {
  const traps = Reflect.ownKeys(Reflect).filter((name): name is string => typeof name === 'string');
  return new Proxy({}, Object.fromEntries(traps.map((name) => [name, refuse])));
}

function circle(): object {
  const one: { self?: object } = {};
  one.self = one;
  return one;
}

function deep(levels: number): object {
  let value: object = {};
  for (let at = 0; at < levels; at++) value = { value };
  return value;
}

/** Another answer each time it is asked. */
function fickle(...answers: unknown[]): object {
  let asked = 0;
  return { toJSON: () => answers[asked++ % answers.length] };
}

// biome-ignore-start lint/suspicious/noThenProperty: what a handler gives may be anything.
const VALUES: Record<string, () => unknown> = {
  undefined: () => undefined,
  'a bigint': () => 1n,
  'a symbol': () => Symbol('x'),
  'a function': () => () => 1,
  'a class': () => class {},
  NaN: () => Number.NaN,
  'half a pair': () => '\ud800',
  'a circle': circle,
  'what is deep': () => deep(50_000),
  'a revoked proxy': () => revoked(),
  'a revoked list': () => revoked([]),
  'a revoked function': () => revoked(() => 1),
  'a proxy that refuses all': refusing,
  'a proxy in a list': () => [revoked()],
  'a getter that throws': () => Object.defineProperty({}, 'x', { enumerable: true, get: refuse }),
  'a hidden getter that throws': () => Object.defineProperty({}, 'constructor', { get: refuse }),
  'toJSON of undefined': () => ({ toJSON: () => undefined }),
  'toJSON of undefined in a class': () =>
    new (class Gone {
      toJSON(): void {}
    })(),
  'toJSON of undefined in a list': () => [{ toJSON: () => undefined }],
  'toJSON of undefined in an object': () => ({ x: { toJSON: () => undefined } }),
  'toJSON of a function': () => ({ toJSON: () => () => 1 }),
  'toJSON of a symbol': () => ({ toJSON: () => Symbol('x') }),
  'toJSON of a bigint': () => ({ toJSON: () => 1n }),
  'toJSON that throws': () => ({ toJSON: refuse }),
  'toJSON that throws nothing': () => ({
    toJSON() {
      throw undefined;
    },
  }),
  'toJSON of itself': () => ({
    toJSON() {
      return this;
    },
  }),
  'a getter toJSON that throws': () => Object.defineProperty({}, 'toJSON', { get: refuse }),
  'toJSON that changes its mind to undefined': () => fickle(1, undefined),
  'toJSON that changes its mind to a bigint': () => fickle(1, 2n),
  'toJSON that changes its mind to a symbol': () => fickle({}, Symbol('x')),
  'toJSON that changes its mind to throwing': () => {
    let asked = 0;
    return { toJSON: () => (asked++ === 0 ? 1 : refuse()) };
  },
  'a Map': () => new Map([[1, 2]]),
  'a WeakRef': () => new WeakRef({}),
  'an invalid Date': () => new Date(Number.NaN),
  'a Date whose toJSON is gone': () => Object.assign(new Date(0), { toJSON: undefined }),
  'a list with holes': () => new Array(4_000_000_000),
  'a frozen object': () => Object.freeze({ x: Object.freeze([1]) }),
  'an object without a prototype': () => Object.create(null),
  'a constructor that is no class': () => Object.assign(Object.create({}), { constructor: { name: Symbol('x') } }),
  'a constructor whose name throws': () => new (Object.defineProperty(class Thrower {}, 'name', { get: refuse }))(),
  'a generator': () => (function* () {})(),
  'a rejected promise in an object': () => {
    const promise = Promise.reject(new Error('no'));
    promise.catch(() => {});
    return { promise };
  },
  'an error': () => new Error('x'),
  'a getter `then` that throws': () => Object.defineProperty({}, 'then', { get: refuse }),
  'a `then` that throws': () => ({ then: refuse }),
  'a `then` that is no function': () => ({ then: 1 }),
  'a `then` that answers twice': () => ({
    then(resolve: (value: unknown) => void) {
      resolve(1);
      resolve(2);
    },
  }),
  'a `then` that answers and refuses': () => ({
    then(resolve: (value: unknown) => void, reject: (why: unknown) => void) {
      resolve(1);
      reject(new Error('no'));
    },
  }),
  'a `then` that answers and throws': () => ({
    then(resolve: (value: unknown) => void) {
      resolve(1);
      refuse();
    },
  }),
  'a `then` that answers with another': () => ({
    then(resolve: (value: unknown) => void) {
      resolve({ then: (inner: (value: unknown) => void) => setImmediate(() => inner(3)) });
    },
  }),
  'a `then` that refuses with nothing': () => ({ then: (_: unknown, reject: (why?: unknown) => void) => reject() }),
  'a promise of a revoked proxy': () => {
    const promise = Promise.resolve().then(() => revoked());
    promise.catch(() => {});
    return promise;
  },
  'a promise whose `then` throws': () => Object.assign(Promise.resolve(1), { then: refuse }),
  'a promise of a strange class': () => Object.defineProperty(Promise.resolve(1), 'constructor', { get: refuse }),
};
// biome-ignore-end lint/suspicious/noThenProperty: as above.

function hostileError(key: string, answer: () => unknown = refuse): Error {
  return Object.defineProperty(new Error('x'), key, { get: answer });
}

const THROWN: Record<string, () => unknown> = {
  ...VALUES,
  null: () => null,
  'a text': () => 'x',
  'an error whose message throws': () => hostileError('message'),
  'an error whose message is a symbol': () => hostileError('message', () => Symbol('x')),
  'an error whose message is a proxy': () => hostileError('message', refusing),
  'an error whose stack throws': () => hostileError('stack'),
  'an error whose stack is no text': () => hostileError('stack', () => 1n),
  'an error whose name throws': () => hostileError('name'),
  'an error whose cause is itself': () => {
    const error = new Error('x');
    error.cause = error;
    return error;
  },
  'an error whose cause is revoked': () => new Error('x', { cause: revoked() }),
  'a revoked error': () => revoked(new Error('x')),
  'an error that prints itself wrongly': () =>
    Object.assign(new Error('x'), { [Symbol.for('nodejs.util.inspect.custom')]: refuse }),
  'an AggregateError of such': () => new AggregateError([revoked(), hostileError('message')], 'x'),
  ...Object.fromEntries(
    Object.entries(VALUES).map(([name, value]) => [
      `a ConvoyError with ${name}`,
      () => new ConvoyError('CONFLICT', 'x', { details: value() }),
    ]),
  ),
  'a ConvoyError whose details throw': () =>
    Object.defineProperty(new ConvoyError('CONFLICT', 'x'), 'details', { get: refuse }),
  'a ConvoyError whose code throws': () =>
    Object.defineProperty(new ConvoyError('CONFLICT', 'x'), 'code', { get: refuse }),
  'a ConvoyError whose code is a symbol': () => Object.assign(new ConvoyError('CONFLICT', 'x'), { code: Symbol('x') }),
  'a ConvoyError whose code is unknown': () => Object.assign(new ConvoyError('CONFLICT', 'x'), { code: 'NOPE' }),
  'a ConvoyError whose message is no text': () => Object.assign(new ConvoyError('CONFLICT', 'x'), { message: {} }),
  'a ConvoyError whose status is no number': () => Object.assign(new ConvoyError('CONFLICT', 'x'), { status: 'x' }),
  'something that only says it is one': () => ({
    [Symbol.for('convoy.error')]: true,
    get code() {
      return refuse();
    },
  }),
};

/** Answered, once, with text that is JSON. */
async function answered(
  functions: Record<string, AnyConvoyFunction>,
  createContext?: (req: unknown, base: object) => unknown,
) {
  const made = createContext === undefined ? {} : { createContext: createContext as never };
  const { call, engine, program } = hostOf({ schema, functions, ...made });
  program.holdsInserts = new Set(['notes']);
  const response = await call('fn', {}, createContext === undefined ? undefined : REQUEST);
  await new Promise((resolve) => setImmediate(resolve));
  expect(engine.responses).toHaveLength(1);
  if (!response.ok) expect(response.body).toMatchObject({});
  return response;
}

const later = async (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe.each(Object.entries(VALUES))('%s', (_, value) => {
  it('as a result', async () => {
    await answered({ fn: query({ handler: value }) });
    await answered({ fn: mutation({ handler: async () => value() }) });
    await answered({ fn: action({ handler: () => later().then(value) }) });
    await answered({ fn: query({ handler: () => ({ inside: [value()] }) }) });
  });

  it('as what `returns` makes of a result', async () => {
    await answered({ fn: query({ returns: z.any(), handler: value }) });
    await answered({ fn: query({ returns: z.any().transform(value), handler: () => 1 }) });
    await answered({ fn: query({ returns: z.any().refine(value), handler: () => 1 }) });
  });

  it('as a context', async () => {
    await answered({ fn: query({ handler: () => 1 }) }, value);
    await answered({ fn: query({ handler: (ctx: Ctx) => Object.keys(ctx) }) }, async () => value());
    await answered({ fn: query({ handler: (ctx: Ctx) => ctx.user }) }, (_req, base) => ({ ...base, user: value() }));
    await answered({ fn: query({ handler: () => 1 }) }, (_req, base) => ({ ...base, expiresAt: value() }));
  });

  it('as arguments of a function it calls, and as that one’s result', async () => {
    const inner = query({ handler: () => 1 });
    await answered({ fn: query({ handler: (ctx: Ctx) => ctx.runQuery(inner, value()) }), inner });
    const giving = query({ handler: value });
    await answered({ fn: query({ handler: (ctx: Ctx) => ctx.runQuery(giving) }), giving });
    await answered({ fn: mutation({ handler: (ctx: Ctx) => ctx.runQuery(value()) }) });
  });

  it('as a document, and in one that is changed once it was checked', async () => {
    await answered({ fn: mutation({ handler: (ctx: Ctx) => ctx.db.insert('notes', { text: value() }) }) });
    const change = async (ctx: Ctx): Promise<void> => {
      const text: { x?: unknown } = {};
      await ctx.db.insert('notes', { text });
      text.x = value();
    };
    await answered({ fn: mutation({ handler: change }) });
  });
});

describe.each(Object.entries(THROWN))('%s', (_, value) => {
  it('thrown by a handler, its schema or createContext', async () => {
    const thrower = (): never => {
      throw value();
    };
    expect((await answered({ fn: query({ handler: thrower }) })).ok).toBe(false);
    expect((await answered({ fn: mutation({ handler: async () => thrower() }) })).ok).toBe(false);
    expect((await answered({ fn: action({ handler: () => later().then(thrower) }) })).ok).toBe(false);
    expect((await answered({ fn: query({ returns: z.any().refine(thrower), handler: () => 1 }) })).ok).toBe(false);
    expect((await answered({ fn: query({ handler: () => ({ toJSON: thrower }) }) })).ok).toBe(false);
    expect((await answered({ fn: query({ handler: () => 1 }) }, thrower)).ok).toBe(false);
    expect((await answered({ fn: query({ handler: () => 1 }) }, async () => thrower())).ok).toBe(false);
    const inner = query({ handler: thrower });
    expect((await answered({ fn: query({ handler: (ctx: Ctx) => ctx.runQuery(inner) }), inner })).ok).toBe(false);
  });
});

it('a `then` that calls back twice runs what follows once', async () => {
  const handler = vi.fn(() => later().then(() => 1));
  await answered({ fn: query({ handler }) }, (_req, base) => ({
    // biome-ignore lint/suspicious/noThenProperty: that is what is tried.
    then(resolve: (value: object) => void) {
      resolve({ ...base });
      resolve({ ...base });
      setImmediate(() => resolve({ ...base }));
    },
  }));
  expect(handler).toHaveBeenCalledTimes(1);
});

it('a `then` that never calls back leaves the call to the engine, which gives it up', async () => {
  // biome-ignore lint/suspicious/noThenProperty: that is what is tried.
  const { engine, call } = hostOf({ schema, functions: { fn: query({ handler: () => ({ then() {} }) }) } });
  void call('fn');
  await later();
  expect(engine.responses).toEqual([]);
  engine.abandon(1, { code: 'TIMEOUT', message: 'too long' });
  await later();
  expect(engine.responses).toEqual([]);
});

it('what a result says of nothing is nothing', async () => {
  for (const value of [VALUES['toJSON of undefined'], VALUES.undefined, VALUES['toJSON of undefined in a class']]) {
    expect(await answered({ fn: query({ handler: value as () => unknown }) })).toMatchObject({ ok: true, body: null });
  }
});
