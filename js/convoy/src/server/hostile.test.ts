/** For any value that a handler returns or throws, its call gets exactly one response, and no error is left unhandled. */

import { afterEach, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { hostOf } from '../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import { type AnyConvoyFunction, action, mutation, query } from './functions.js';

const schema = defineSchema({ notes: defineTable({ text: z.any() }) });
const REQUEST = JSON.stringify({ method: 'POST', url: '/', headers: {} });

// biome-ignore lint/suspicious/noExplicitAny: these handlers use their context in ways that no type allows.
type Ctx = any;

const escaped = vi.fn();
for (const event of ['unhandledRejection', 'uncaughtException'] as const) process.on(event, escaped);
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  const errors = escaped.mock.calls.map(([error]) => error);
  escaped.mockClear();
  expect(errors).toEqual([]);
});

function throwNo(): never {
  throw new Error('no');
}

function revoked(target: object = {}): object {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

function throwingProxy(): object {
  const traps = Reflect.ownKeys(Reflect).filter((name): name is string => typeof name === 'string');
  return new Proxy({}, Object.fromEntries(traps.map((name) => [name, throwNo])));
}

function cycle(): object {
  const one: { self?: object } = {};
  one.self = one;
  return one;
}

function deep(levels: number): object {
  let value: object = {};
  for (let at = 0; at < levels; at++) value = { value };
  return value;
}

/** Returns another of `values` at each call of `toJSON`. */
function inconsistent(...values: unknown[]): object {
  let calls = 0;
  return { toJSON: () => values[calls++ % values.length] };
}

// biome-ignore-start lint/suspicious/noThenProperty: a handler may return any value.
const VALUES: Record<string, () => unknown> = {
  undefined: () => undefined,
  'a bigint': () => 1n,
  'a symbol': () => Symbol('x'),
  'a function': () => () => 1,
  'a class': () => class {},
  NaN: () => Number.NaN,
  'a lone surrogate': () => '\ud800',
  'a cycle': cycle,
  'a deep object': () => deep(50_000),
  'a revoked proxy': () => revoked(),
  'a revoked list': () => revoked([]),
  'a revoked function': () => revoked(() => 1),
  'a proxy whose traps all throw': throwingProxy,
  'a proxy in a list': () => [revoked()],
  'a getter that throws': () => Object.defineProperty({}, 'x', { enumerable: true, get: throwNo }),
  'a non-enumerable getter that throws': () => Object.defineProperty({}, 'constructor', { get: throwNo }),
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
  'toJSON that throws': () => ({ toJSON: throwNo }),
  'toJSON that throws undefined': () => ({
    toJSON() {
      throw undefined;
    },
  }),
  'toJSON of itself': () => ({
    toJSON() {
      return this;
    },
  }),
  'a getter toJSON that throws': () => Object.defineProperty({}, 'toJSON', { get: throwNo }),
  'toJSON that later returns undefined': () => inconsistent(1, undefined),
  'toJSON that later returns a bigint': () => inconsistent(1, 2n),
  'toJSON that later returns a symbol': () => inconsistent({}, Symbol('x')),
  'toJSON that later throws': () => {
    let calls = 0;
    return { toJSON: () => (calls++ === 0 ? 1 : throwNo()) };
  },
  'a Map': () => new Map([[1, 2]]),
  'a WeakRef': () => new WeakRef({}),
  'an invalid Date': () => new Date(Number.NaN),
  'a Date without toJSON': () => Object.assign(new Date(0), { toJSON: undefined }),
  'a list with holes': () => new Array(4_000_000_000),
  'a frozen object': () => Object.freeze({ x: Object.freeze([1]) }),
  'an object without a prototype': () => Object.create(null),
  'a constructor that is no class': () => Object.assign(Object.create({}), { constructor: { name: Symbol('x') } }),
  'a constructor whose name throws': () => new (Object.defineProperty(class Thrower {}, 'name', { get: throwNo }))(),
  'a generator': () => (function* () {})(),
  'a rejected promise in an object': () => {
    const promise = Promise.reject(new Error('no'));
    promise.catch(() => {});
    return { promise };
  },
  'an error': () => new Error('x'),
  'a getter `then` that throws': () => Object.defineProperty({}, 'then', { get: throwNo }),
  'a `then` that throws': () => ({ then: throwNo }),
  'a `then` that is no function': () => ({ then: 1 }),
  'a `then` that resolves twice': () => ({
    then(resolve: (value: unknown) => void) {
      resolve(1);
      resolve(2);
    },
  }),
  'a `then` that resolves and rejects': () => ({
    then(resolve: (value: unknown) => void, reject: (reason: unknown) => void) {
      resolve(1);
      reject(new Error('no'));
    },
  }),
  'a `then` that resolves and throws': () => ({
    then(resolve: (value: unknown) => void) {
      resolve(1);
      throwNo();
    },
  }),
  'a `then` that resolves to another': () => ({
    then(resolve: (value: unknown) => void) {
      resolve({ then: (inner: (value: unknown) => void) => setImmediate(() => inner(3)) });
    },
  }),
  'a `then` that rejects with undefined': () => ({
    then: (_: unknown, reject: (reason?: unknown) => void) => reject(),
  }),
  'a promise of a revoked proxy': () => {
    const promise = Promise.resolve().then(() => revoked());
    promise.catch(() => {});
    return promise;
  },
  'a promise whose `then` throws': () => Object.assign(Promise.resolve(1), { then: throwNo }),
  'a promise whose constructor throws': () =>
    Object.defineProperty(Promise.resolve(1), 'constructor', { get: throwNo }),
};
// biome-ignore-end lint/suspicious/noThenProperty: as above.

function hostileError(key: string, getter: () => unknown = throwNo): Error {
  return Object.defineProperty(new Error('x'), key, { get: getter });
}

const THROWN: Record<string, () => unknown> = {
  ...VALUES,
  null: () => null,
  'a string': () => 'x',
  'an error whose message throws': () => hostileError('message'),
  'an error whose message is a symbol': () => hostileError('message', () => Symbol('x')),
  'an error whose message is a proxy': () => hostileError('message', throwingProxy),
  'an error whose stack throws': () => hostileError('stack'),
  'an error whose stack is no string': () => hostileError('stack', () => 1n),
  'an error whose name throws': () => hostileError('name'),
  'an error whose cause is itself': () => {
    const error = new Error('x');
    error.cause = error;
    return error;
  },
  'an error whose cause is revoked': () => new Error('x', { cause: revoked() }),
  'a revoked error': () => revoked(new Error('x')),
  'an error whose custom inspection throws': () =>
    Object.assign(new Error('x'), { [Symbol.for('nodejs.util.inspect.custom')]: throwNo }),
  'an AggregateError of such': () => new AggregateError([revoked(), hostileError('message')], 'x'),
  ...Object.fromEntries(
    Object.entries(VALUES).map(([name, value]) => [
      `a ConvoyError with ${name}`,
      () => new ConvoyError('CONFLICT', 'x', { details: value() }),
    ]),
  ),
  'a ConvoyError whose details throw': () =>
    Object.defineProperty(new ConvoyError('CONFLICT', 'x'), 'details', { get: throwNo }),
  'a ConvoyError whose code throws': () =>
    Object.defineProperty(new ConvoyError('CONFLICT', 'x'), 'code', { get: throwNo }),
  'a ConvoyError whose code is a symbol': () => Object.assign(new ConvoyError('CONFLICT', 'x'), { code: Symbol('x') }),
  'a ConvoyError whose code is unknown': () => Object.assign(new ConvoyError('CONFLICT', 'x'), { code: 'NOPE' }),
  'a ConvoyError whose message is no string': () => Object.assign(new ConvoyError('CONFLICT', 'x'), { message: {} }),
  'a ConvoyError whose status is no number': () => Object.assign(new ConvoyError('CONFLICT', 'x'), { status: 'x' }),
  'an object branded as a ConvoyError': () => ({
    [Symbol.for('convoy.error')]: true,
    get code() {
      return throwNo();
    },
  }),
};

/** Calls `fn` and checks that it gets exactly one response. */
async function responseOf(
  functions: Record<string, AnyConvoyFunction>,
  createContext?: (req: unknown, base: object) => unknown,
) {
  const made = createContext === undefined ? {} : { createContext: createContext as never };
  const { call, engine, program } = hostOf({ schema, functions, ...made });
  program.holdsWrites = new Set(['notes']);
  const response = await call('fn', {}, createContext === undefined ? undefined : REQUEST);
  await new Promise((resolve) => setImmediate(resolve));
  expect(engine.responses).toHaveLength(1);
  if (!response.ok) expect(response.body).toMatchObject({});
  return response;
}

const later = async (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe.each(Object.entries(VALUES))('%s', (_, value) => {
  it('as a result', async () => {
    await responseOf({ fn: query({ handler: value }) });
    await responseOf({ fn: mutation({ handler: async () => value() }) });
    await responseOf({ fn: action({ handler: () => later().then(value) }) });
    await responseOf({ fn: query({ handler: () => ({ inside: [value()] }) }) });
  });

  it('as the output of `returns`', async () => {
    await responseOf({ fn: query({ returns: z.any(), handler: value }) });
    await responseOf({ fn: query({ returns: z.any().transform(value), handler: () => 1 }) });
    await responseOf({ fn: query({ returns: z.any().refine(value), handler: () => 1 }) });
  });

  it('as a context', async () => {
    await responseOf({ fn: query({ handler: () => 1 }) }, value);
    await responseOf({ fn: query({ handler: (ctx: Ctx) => Object.keys(ctx) }) }, async () => value());
    await responseOf({ fn: query({ handler: (ctx: Ctx) => ctx.user }) }, (_req, base) => ({ ...base, user: value() }));
    await responseOf({ fn: query({ handler: () => 1 }) }, (_req, base) => ({ ...base, expiresAt: value() }));
  });

  it('as arguments and result of a called function', async () => {
    const inner = query({ handler: () => 1 });
    await responseOf({ fn: query({ handler: (ctx: Ctx) => ctx.runQuery(inner, value()) }), inner });
    const giving = query({ handler: value });
    await responseOf({ fn: query({ handler: (ctx: Ctx) => ctx.runQuery(giving) }), giving });
    await responseOf({ fn: mutation({ handler: (ctx: Ctx) => ctx.runQuery(value()) }) });
  });

  it('as a document, and in one changed after its check', async () => {
    await responseOf({ fn: mutation({ handler: (ctx: Ctx) => ctx.db.insert('notes', { text: value() }) }) });
    const change = async (ctx: Ctx): Promise<void> => {
      const text: { x?: unknown } = {};
      await ctx.db.insert('notes', { text });
      text.x = value();
    };
    await responseOf({ fn: mutation({ handler: change }) });
  });
});

describe.each(Object.entries(THROWN))('%s', (_, value) => {
  it('thrown by a handler, its schema or createContext', async () => {
    const thrower = (): never => {
      throw value();
    };
    expect((await responseOf({ fn: query({ handler: thrower }) })).ok).toBe(false);
    expect((await responseOf({ fn: mutation({ handler: async () => thrower() }) })).ok).toBe(false);
    expect((await responseOf({ fn: action({ handler: () => later().then(thrower) }) })).ok).toBe(false);
    expect((await responseOf({ fn: query({ returns: z.any().refine(thrower), handler: () => 1 }) })).ok).toBe(false);
    expect((await responseOf({ fn: query({ handler: () => ({ toJSON: thrower }) }) })).ok).toBe(false);
    expect((await responseOf({ fn: query({ handler: () => 1 }) }, thrower)).ok).toBe(false);
    expect((await responseOf({ fn: query({ handler: () => 1 }) }, async () => thrower())).ok).toBe(false);
    const inner = query({ handler: thrower });
    expect((await responseOf({ fn: query({ handler: (ctx: Ctx) => ctx.runQuery(inner) }), inner })).ok).toBe(false);
  });
});

it('a `then` that calls back twice runs the handler once', async () => {
  const handler = vi.fn(() => later().then(() => 1));
  await responseOf({ fn: query({ handler }) }, (_req, base) => ({
    // biome-ignore lint/suspicious/noThenProperty: a thenable is under test.
    then(resolve: (value: object) => void) {
      resolve({ ...base });
      resolve({ ...base });
      setImmediate(() => resolve({ ...base }));
    },
  }));
  expect(handler).toHaveBeenCalledTimes(1);
});

it('a call whose `then` never calls back gets no response, and the engine abandons it', async () => {
  // biome-ignore lint/suspicious/noThenProperty: a thenable is under test.
  const { engine, call } = hostOf({ schema, functions: { fn: query({ handler: () => ({ then() {} }) }) } });
  void call('fn');
  await later();
  expect(engine.responses).toEqual([]);
  engine.abandon(1, { code: 'TIMEOUT', message: 'too long' });
  await later();
  expect(engine.responses).toEqual([]);
});

it('a result that JSON omits is null', async () => {
  for (const value of [VALUES['toJSON of undefined'], VALUES.undefined, VALUES['toJSON of undefined in a class']]) {
    expect(await responseOf({ fn: query({ handler: value as () => unknown }) })).toMatchObject({
      ok: true,
      body: null,
    });
  }
});
