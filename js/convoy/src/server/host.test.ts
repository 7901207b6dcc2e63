import { AsyncLocalStorage } from 'node:async_hooks';
import { afterEach, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { hostOf, uuid } from '../../testing/scripted-engine.js';
import { type DataModelOf, defineSchema, defineTable } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import type { Id } from '../values/ids.js';

import type { BaseContext, CreateContext } from './contexts.js';
import { action, createFunctionHelpers, mutation, query } from './functions.js';

const schema = defineSchema({ notes: defineTable({ text: z.string() }) });
const NOTE = `notes:${uuid(1)}` as Id<'notes'>;

// An unhandled rejection would fail the test run; this also fails the test that caused it.
const unhandled = vi.fn();
process.on('unhandledRejection', unhandled);
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).not.toHaveBeenCalled();
});

describe('a call', () => {
  it('passes parsed arguments to the handler and its result as JSON to the engine', async () => {
    const echo = query({
      input: { n: z.coerce.number(), at: z.iso.datetime().optional() },
      handler: (_ctx, args) => ({ args, at: new Date(0), gone: undefined }),
    });
    const { call, engine } = hostOf({ schema, functions: { echo } });
    const response = await call('echo', { n: '7', extra: true });
    expect(response).toMatchObject({ ok: true, body: { args: { n: 7 }, at: '1970-01-01T00:00:00.000Z' }, held: null });
    expect(engine.responses).toHaveLength(1);
  });

  it('of a synchronous handler is answered within the delivery', () => {
    const { engine } = hostOf({ schema, functions: { one: query({ handler: () => 1 }) } });
    engine.start(0);
    expect(engine.responses).toMatchObject([{ ok: true, body: 1 }]);
  });

  it('whose handler returns undefined results in null', async () => {
    const { call } = hostOf({
      schema,
      functions: { a: mutation({ handler: () => {} }), b: query({ handler: async () => {} }) },
    });
    expect(await call('a')).toMatchObject({ ok: true, body: null });
    expect(await call('b')).toMatchObject({ ok: true, body: null });
  });

  it.each([
    ['wrong types', '{"n":"x","list":[{"a":"y"}]}', [['n'], ['list', 0, 'a']]],
    ['a missing key', '{"list":[]}', [['n']]],
    ['an array', '[]', [[]]],
  ])('with invalid arguments (%s) is INVALID_ARGS with every path', async (_, input, paths) => {
    const handler = vi.fn();
    const fn = query({ input: { n: z.number(), list: z.array(z.object({ a: z.number() })) }, handler });
    const { engine } = hostOf({ schema, functions: { fn } });
    const { ok, body } = await engine.run(0, input);
    expect(ok).toBe(false);
    expect(body).toMatchObject({ code: 'INVALID_ARGS', status: 400 });
    const { issues } = (body as { details: { issues: { path: unknown; message: unknown }[] } }).details;
    expect(issues.map((issue) => issue.path)).toEqual(paths);
    expect(issues.every((issue) => typeof issue.message === 'string')).toBe(true);
    expect(handler).not.toHaveBeenCalled();
  });

  it('with malformed JSON is INVALID_ARGS', async () => {
    const { engine } = hostOf({ schema, functions: { fn: query({ handler: () => 1 }) } });
    expect(await engine.run(0, '{"a":')).toMatchObject({ ok: false, body: { code: 'INVALID_ARGS' } });
  });

  it('of an unknown function responds with NOT_FOUND', async () => {
    const { engine } = hostOf({ schema, functions: {} });
    expect(await engine.run(3, '{}')).toMatchObject({ ok: false, body: { code: 'NOT_FOUND' } });
  });

  it.each([
    ['unescaped', '{"map":{"__proto__":{"a":1}}}', ['map', '__proto__']],
    ['escaped', '{"map":{"a":1},"list":[{},{"\\u005f_proto__":1}]}', ['list', 1, '__proto__']],
  ])('rejects a key named __proto__ that parsing would drop: %s', async (_, text, path) => {
    const map = z.record(z.string(), z.unknown());
    const input = { map, list: z.array(map).optional() };
    const slow = z.object(input).refine(async () => true);
    const functions = { fn: query({ input, handler: () => {} }), slow: query({ input: slow, handler: () => {} }) };
    const { engine, indexOf } = hostOf({ schema, functions });
    for (const name of ['fn', 'slow']) {
      const { body } = await engine.run(indexOf(name), text);
      expect(body).toMatchObject({ code: 'INVALID_ARGS', details: { issues: [{ path }] } });
    }
  });

  it('keeps a key named __proto__ if its input does', async () => {
    const echo = query({ input: { any: z.unknown() }, handler: (_ctx, { any }) => Object.keys(any as object) });
    const { engine } = hostOf({ schema, functions: { echo } });
    expect(await engine.run(0, '{"any":{"__proto__":1}}')).toMatchObject({ ok: true, body: ['__proto__'] });
  });

  it('with async checks in its input waits for them', async () => {
    const fn = query({ input: { n: z.number().refine(async (n) => n > 0, 'too small') }, handler: (_, { n }) => n });
    const { call } = hostOf({ schema, functions: { fn } });
    expect(await call('fn', { n: 1 })).toMatchObject({ ok: true, body: 1 });
    expect(await call('fn', { n: -1 })).toMatchObject({ ok: false, body: { code: 'INVALID_ARGS' } });
  });
});

describe('prefetched operations', () => {
  const get = (n: number) => ({ op: 'get', table: 'notes', id: uuid(n) });
  const note = (n: number) => ({ _id: `notes:${uuid(n)}`, _creationTime: 1, text: `note ${n}` });
  const { query } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();
  const functions = {
    read: query({ input: { ids: z.array(z.string()) }, handler: (ctx, { ids }) => readAll(ctx, ids) }),
    twice: query({
      input: { ids: z.array(z.string()) },
      handler: async (ctx, { ids }) => [await readAll(ctx, ids), await readAll(ctx, ids)],
    }),
  };
  const readAll = (ctx: BaseContext<DataModelOf<typeof schema>>, ids: readonly string[]) =>
    Promise.all(ids.map((id) => ctx.db.get(id as Id<'notes'>)));
  const input = (...ids: number[]) => JSON.stringify({ ids: ids.map((n) => `notes:${uuid(n)}`) });
  const ok = (...notes: (object | null)[]) => notes.map((note) => ({ ok: note }));

  it('answer the first batch if it is the same', async () => {
    const { engine, indexOf } = hostOf({ schema, functions });
    const response = await engine.runPrefetched(indexOf('read'), input(1, 2), [get(1), get(2)], ok(note(1), null));
    expect(response).toMatchObject({ ok: true, body: [{ text: 'note 1' }, null], unused: false });
    expect(engine.batches).toEqual([]);
  });

  it('are ignored if it differs, or if there is none', async () => {
    const { engine, indexOf } = hostOf({ schema, functions });
    engine.script = () => ({ ok: note(3) });
    for (const ops of [[get(1)], [get(3), get(3)], []]) {
      const response = await engine.runPrefetched(indexOf('read'), input(3), ops, ok(note(1), note(2)));
      expect(response).toMatchObject({ ok: true, body: [{ text: 'note 3' }], unused: false });
      expect(engine.batches.splice(0)).toMatchObject([{ batch: 0, ops: [get(3)] }]);
    }
    const none = await engine.runPrefetched(indexOf('read'), input(), [get(1)], ok(note(1)));
    expect(none).toMatchObject({ ok: true, body: [], unused: true });
  });

  it('answer no later batch', async () => {
    const { engine, indexOf } = hostOf({ schema, functions });
    engine.script = () => ({ ok: note(2) });
    const { body } = await engine.runPrefetched(indexOf('twice'), input(1), [get(1)], ok(note(1)));
    expect(body).toMatchObject([[{ text: 'note 1' }], [{ text: 'note 2' }]]);
    expect(engine.batches).toMatchObject([{ batch: 1, ops: [get(1)] }]);
  });

  it('fail as others do', async () => {
    const { engine, indexOf } = hostOf({ schema, functions });
    const failure = [{ error: { code: 'LIMIT_EXCEEDED', message: 'too much', status: 400 } }];
    const response = await engine.runPrefetched(indexOf('read'), input(1), [get(1)], failure);
    expect(response).toMatchObject({ ok: false, body: { message: 'too much' } });
  });
});

describe('a failure', () => {
  const cases: [string, () => unknown][] = [
    [
      'synchronously',
      () => {
        throw new Error('boom');
      },
    ],
    [
      'asynchronously',
      async () => {
        throw new Error('boom');
      },
    ],
  ];
  it.each(cases)('thrown %s is sent with message and stack, for the log', async (_, handler) => {
    const { call, engine } = hostOf({ schema, functions: { fn: query({ handler }) } });
    expect(await call('fn')).toMatchObject({
      ok: false,
      body: { thrown: { message: 'boom', stack: expect.stringMatching(/boom[\s\S]*host\.test\.ts/) } },
      held: null,
    });
    expect(engine.responses).toHaveLength(1);
  });

  it('that is a ConvoyError is sent in full', async () => {
    const handler = async (): Promise<never> => {
      throw new ConvoyError('FORBIDDEN', 'not yours', { details: { owner: 'ada' }, status: 418 });
    };
    const { call } = hostOf({ schema, functions: { fn: mutation({ handler }) } });
    expect((await call('fn')).body).toEqual({
      code: 'FORBIDDEN',
      message: 'not yours',
      details: { owner: 'ada' },
      status: 418,
    });
  });

  it.each<[string, unknown, RegExp]>([
    ['null', null, /null was thrown/],
    ['a string', 'oops', /'oops' was thrown/],
    [
      'an error that cannot be inspected',
      new Proxy(
        {},
        {
          get: () => {
            throw new Error('no');
          },
        },
      ),
      /./,
    ],
    ['a ConvoyError with details that are not JSON', new ConvoyError('CONFLICT', 'x', { details: 1n }), /BigInt/],
  ])('with %s as the thrown value is sent too', async (_, thrown, message) => {
    const { call } = hostOf({
      schema,
      functions: {
        fn: query({
          handler: () => {
            throw thrown;
          },
        }),
      },
    });
    expect(await call('fn')).toMatchObject({
      ok: false,
      body: { thrown: { message: expect.stringMatching(message) } },
    });
  });

  it.each<[string, unknown, RegExp]>([
    ['a bigint', { a: [1n] }, /fn: `a\[0\]` of its result is a bigint/],
    ['a Map', new Map(), /fn: its result is a Map/],
    ['an unawaited promise', { a: Promise.resolve() }, /`a`.*Promise.*await/],
  ])('to return JSON (%s) names the path', async (_, result, message) => {
    const { call } = hostOf({ schema, functions: { fn: query({ handler: () => result }) } });
    expect(await call('fn')).toMatchObject({
      ok: false,
      body: { thrown: { message: expect.stringMatching(message) } },
    });
  });

  it('to match `returns` is sent for the log, not for the client', async () => {
    const returns = z.object({ n: z.number() });
    // @ts-expect-error the compiler finds this too
    const fn = query({ returns, handler: () => ({ n: 'seven' }) });
    const { call } = hostOf({ schema, functions: { fn } });
    expect((await call('fn')).body).toMatchObject({ thrown: { message: expect.stringMatching(/`returns` at n/) } });
  });
});

describe('returns', () => {
  it('parses the result: applies defaults, strips unknown keys, runs codecs', async () => {
    const at = z.codec(z.date(), z.iso.datetime(), { decode: (d) => d.toISOString(), encode: (s) => new Date(s) });
    const returns = z.object({ at, n: z.number().default(3) });
    const handler = async () => ({ at: new Date(0), secret: 1 });
    const { call } = hostOf({ schema, functions: { fn: query({ returns, handler }) } });
    expect((await call('fn')).body).toEqual({ at: '1970-01-01T00:00:00.000Z', n: 3 });
  });
});

describe('a call abandoned by the engine', () => {
  it('fails its pending operations and sends no response', async () => {
    const seen: unknown[] = [];
    const fn = query({
      handler: async (ctx) => {
        await ctx.db.get(NOTE).catch((error: unknown) => seen.push(error));
        await ctx.db.get(NOTE).catch((error: unknown) => seen.push(error));
        return 'late';
      },
    });
    const { engine } = hostOf({ schema, functions: { fn } }, null);
    const callId = engine.start(0);
    await Promise.resolve();
    expect(engine.batches).toHaveLength(1);
    engine.abandon(callId, { code: 'TIMEOUT', message: 'took too long' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(seen).toEqual([
      expect.objectContaining({ code: 'TIMEOUT', message: 'took too long' }),
      expect.objectContaining({ code: 'TIMEOUT' }),
    ]);
    engine.answer(callId, 0, [{ ok: null }]);
    expect(engine.responses).toEqual([]);
    expect(engine.batches).toHaveLength(1);
  });

  it('may be unknown', () => {
    const { engine } = hostOf({ schema, functions: {} });
    engine.abandon(99, { code: 'TIMEOUT', message: 'x' });
    engine.answer(99, 0, []);
    expect(engine.responses).toEqual([]);
  });
});

describe('createContext', () => {
  interface Ctx {
    readonly db: { get(id: string): Promise<unknown> };
    readonly user: string;
  }
  const whoami = createFunctionHelpers<Ctx>().query({ handler: (ctx) => ctx.user });
  const functions = { whoami };
  const request = JSON.stringify({ method: 'POST', url: '/api/query/whoami', headers: { cookie: 'ada' }, ip: '::1' });
  const fromCookie: CreateContext = (req, base) => ({ ...base, user: req.headers.cookie ?? 'anonymous' });

  it.each<[string, CreateContext]>([
    ['synchronously', fromCookie],
    ['asynchronously', async (req, base) => fromCookie(req, base)],
  ])('creates the context %s, for every call', async (_, createContext) => {
    const { call } = hostOf({ schema, functions, createContext });
    expect((await call('whoami', {}, request)).body).toBe('ada');
    expect((await call('whoami')).body).toBe('anonymous');
  });

  it('may read the database of the call', async () => {
    const createContext: CreateContext = async (_req, base) => ({ ...base, user: (await base.db.get(NOTE)).text });
    const { call, engine } = hostOf({ schema, functions, createContext }, () => ({ ok: { id: NOTE, text: 'eve' } }));
    expect((await call('whoami', {}, request)).body).toBe('eve');
    expect(engine.batches).toHaveLength(1);
  });

  it('fails the call by throwing, before the handler runs', async () => {
    const handler = vi.fn();
    const createContext = (): never => {
      throw new ConvoyError('UNAUTHORIZED', 'sign in first');
    };
    const { call } = hostOf({ schema, functions: { fn: query({ handler }) }, createContext });
    expect((await call('fn', {}, request)).body).toMatchObject({ code: 'UNAUTHORIZED', message: 'sign in first' });
    expect(handler).not.toHaveBeenCalled();
  });

  it('must return an object', async () => {
    const { call } = hostOf({ schema, functions, createContext: (() => undefined) as never });
    expect((await call('whoami', {}, request)).body).toMatchObject({
      thrown: { message: expect.stringMatching(/must return/) },
    });
  });

  it('and handlers cannot leak an AsyncLocalStorage into other calls', async () => {
    const storage = new AsyncLocalStorage<string>();
    const handler = async (): Promise<string> => {
      const store = storage.getStore() ?? 'none';
      storage.enterWith('the previous call');
      return store;
    };
    const functions = { leak: query({ handler }) };
    const createContext: CreateContext = (_req, base) => {
      storage.enterWith('ada');
      return base;
    };
    const { call } = hostOf({ schema, functions, createContext });
    expect((await storage.run('caller', () => call('leak', {}, request))).body).toBe('none');
    expect((await call('leak', {}, request)).body).toBe('none');
  });

  it('is replaced by the context of an in-process call, but not its base', async () => {
    const createContext = vi.fn(fromCookie);
    const { host, call } = hostOf({ schema, functions, createContext });
    const { request: token, release } = host.registerContext({ user: 'robot', db: 'stale' });
    expect((await call('whoami', {}, token)).body).toBe('robot');
    expect(createContext).not.toHaveBeenCalled();
    release();
    expect((await call('whoami', {}, token)).body).toMatchObject({
      thrown: { message: expect.stringMatching(/released/) },
    });
  });
});

describe('a keyed call', () => {
  const request = (more: object) =>
    JSON.stringify({ method: 'POST', url: '/', headers: { cookie: 'ada' }, ip: '::1', keyed: true, ...more });
  const fn = mutation({ input: { fail: z.boolean().default(false) }, handler: (_ctx, { fail }) => fail && boom() });
  const boom = (): never => {
    throw new ConvoyError('CONFLICT', 'boom');
  };
  const requests: unknown[] = [];
  const createContext: CreateContext = (req, base) => {
    requests.push(req);
    if (req.headers.cookie === undefined) throw new ConvoyError('UNAUTHORIZED', 'who are you?');
    return { ...base, user: { id: req.headers.cookie, at: Math.random() } };
  };
  const { call } = hostOf({ schema, functions: { fn }, createContext });

  it('returns the caller fingerprint, also if it fails', async () => {
    const { identity } = await call('fn', {}, request({}));
    expect(identity).toMatch(/./);
    expect(await call('fn', { fail: true }, request({}))).toMatchObject({ ok: false, identity });
    const eve = await call('fn', {}, request({ headers: { cookie: 'eve' } }));
    expect(eve.identity).toMatch(/./);
    expect(eve.identity).not.toBe(identity);
    expect(requests[0]).toEqual({ method: 'POST', url: '/', headers: { cookie: 'ada' }, ip: '::1' });
  });

  it('returns no fingerprint if there is no context', async () => {
    expect(await call('fn', {}, request({ headers: {} }))).toMatchObject({
      body: { code: 'UNAUTHORIZED' },
      identity: null,
    });
    expect(await call('fn', { fail: 'x' }, request({}))).toMatchObject({
      body: { code: 'INVALID_ARGS' },
      identity: null,
    });
  });

  it('is the only one that returns a fingerprint', async () => {
    expect(await call('fn', {}, request({ keyed: false }))).toMatchObject({ ok: true, identity: null });
  });
});

describe('a call without a transaction', () => {
  const add = {
    input: {},
    handler: (ctx: { db: { insert(table: 'notes', note: object): unknown } }) => {
      void ctx.db.insert('notes', { text: 'x' });
    },
  };

  it('sends its inserts at once, and waits for unawaited operations', async () => {
    const functions = {
      inside: mutation(add),
      outside: mutation({ ...add, transaction: false }),
      acting: action(add),
    };
    const { call, engine, program } = hostOf({ schema, functions });
    program.holdsWrites = new Set(['notes']);
    expect(await call('inside')).toMatchObject({ ok: true, held: [{ op: 'insert' }] });
    for (const name of ['outside', 'acting']) {
      expect(await call(name)).toMatchObject({ ok: true, held: null });
      expect(engine.batches.splice(0)).toMatchObject([{ ops: [{ op: 'insert' }] }]);
    }
  });
});

describe('inserts that a handler does not await, and that its promise does not wait for', () => {
  type Ctx = { db: { insert(table: 'notes', note: object): unknown } };
  const getter = () => ({
    get count() {
      return 1;
    },
  });
  const proxy = () => new Proxy({}, {});
  const large = () => 'x'.repeat(5 << 20);

  it.each([
    ['have getters', [getter]],
    ['have proxies', [proxy]],
    ['have getters between others', [() => 'a', getter, () => 'b']],
    ['are large together', [large, large, () => 'small']],
  ])('are all sent if they %s', async (_, values) => {
    const handler = (ctx: Ctx): string => {
      for (const value of values) void ctx.db.insert('notes', { text: value() });
      return 'done';
    };
    const anything = defineSchema({ notes: defineTable({ text: z.any() }) });
    const { call, engine, program } = hostOf({
      schema: anything,
      functions: { add: mutation({ input: {}, handler }) },
    });
    program.holdsWrites = new Set(['notes']);
    const { ok, held } = await call('add');
    const sent = engine.batches.flatMap(({ ops }) => ops);
    expect([ok, [...sent, ...((held ?? []) as unknown[])].length]).toEqual([true, values.length]);
  });
});
