/** The context reads of a query, and the members reported for a context alone. */

import { inspect } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { hostOf, type Response } from '../../testing/scripted-engine.js';
import { defineSchema } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import type { CreateContext } from './contexts.js';
import type { QueryOptions } from './function-options.js';
import { action, mutation, query } from './functions.js';

// biome-ignore lint/suspicious/noExplicitAny: these handlers use their context in ways that no type allows.
type Ctx = any;
type Handler = (ctx: Ctx) => unknown;

const schema = defineSchema({});
const REQUEST = JSON.stringify({ method: 'POST', url: '/', headers: {}, ip: '::1' });
const KEYS = '["db","now","runQuery","runMutation","runAction","log","user","team"]';
const contextOf: CreateContext = (_req, base) => ({ ...base, user: { id: 'u1', role: 'admin' }, team: 't1' });
const USER = '{"id":"u1","role":"admin"}';

function host(handler: Handler, createContext: CreateContext = contextOf, options: QueryOptions = {}) {
  const functions = {
    fn: query({ handler, ...options }),
    user: query({ handler: (ctx: Ctx) => ctx.user }),
    act: action({ handler: (ctx: Ctx) => ctx.user }),
    change: mutation({ handler: (ctx: Ctx) => ctx.user }),
  };
  return hostOf({ schema, functions, createContext });
}

function run(handler: Handler, createContext?: CreateContext): Promise<Response> {
  return host(handler, createContext).call('fn', {}, REQUEST);
}

/** The reads of a run, without the one that every run has: that its context is plain. */
async function readsOf(handler: Handler, createContext?: CreateContext): Promise<Response['seen']> {
  return withoutPlain((await run(handler, createContext)).seen);
}

function withoutPlain(seen: Response['seen']): Response['seen'] {
  if (seen === null) return null;
  const { '@@plain': plain, ...rest } = seen;
  expect(plain).toBe('true');
  return rest;
}

describe('the reads of a query contain', () => {
  it('no key if it reads only the prototype', async () => {
    class Special {}
    expect(await readsOf((ctx) => ctx instanceof Special)).toEqual({});
    expect(await readsOf((ctx) => Object.getPrototypeOf(ctx) === null)).toEqual({});
  });

  it('no key if it reads no member, or only members of the base', async () => {
    expect(await readsOf(() => 1)).toEqual({});
    expect(await readsOf((ctx) => [ctx.now() > 0, 'db' in ctx, typeof ctx.db.query, Object.hasOwn(ctx, 'db')])).toEqual(
      {},
    );
  });

  it.each<[string, Handler]>([
    ['reads it', (ctx) => ctx.user],
    ['destructures it', ({ user }) => user],
    ['uses `in`', (ctx) => 'user' in ctx],
    ['uses hasOwn', (ctx) => Object.hasOwn(ctx, 'user')],
    ['reads its property descriptor', (ctx) => Object.getOwnPropertyDescriptor(ctx, 'user')],
    ['reads it through an object that inherits from the context', (ctx) => Object.create(ctx).user],
    [
      'reads it later',
      async (ctx) => {
        await null;
        return ctx.user;
      },
    ],
    [
      'reads it and throws',
      (ctx) => {
        throw new ConvoyError('FORBIDDEN', ctx.user.role);
      },
    ],
    ['reads it and fails with a TypeError', (ctx) => ctx.user.no.such],
    [
      'reads it while its error is encoded',
      (ctx) => {
        throw new ConvoyError('FORBIDDEN', 'no', { details: { toJSON: () => ctx.user } });
      },
    ],
    ['reads it while its result is encoded', (ctx) => ({ toJSON: () => ctx.user })],
  ])('a key if the handler %s', async (_, handler) => {
    expect(await readsOf(handler)).toEqual({ user: USER });
  });

  it('only the keys read by the branch that ran', async () => {
    const handler: Handler = (ctx) => (ctx.team === 't1' ? 'all' : ctx.user.id);
    expect(await readsOf(handler)).toEqual({ team: '"t1"' });
    expect(await readsOf(handler, (_req, base) => ({ ...base, user: { id: 'u2' }, team: 't2' }))).toEqual({
      team: '"t2"',
      user: '{"id":"u2"}',
    });
  });

  it.each<[string, Handler]>([
    ['spreads it', (ctx) => ({ ...ctx }).user],
    ['destructures the rest', ({ db, ...rest }) => rest.team],
    ['lists its keys', (ctx) => Object.keys(ctx)],
    [
      'uses `for … in`',
      (ctx) => {
        const keys = [];
        for (const key in ctx) keys.push(key);
        return keys;
      },
    ],
    ['uses Object.assign', (ctx) => Object.assign({}, ctx).team],
  ])('all keys if the handler %s', async (_, handler) => {
    expect(await readsOf(handler)).toEqual({ '@@keys': KEYS, user: USER, team: '"t1"' });
  });

  it('all keys and toJSON if the context is encoded as JSON', async () => {
    expect(await readsOf((ctx) => JSON.stringify(ctx, (key, value) => (key === 'db' ? undefined : value)))).toEqual({
      '@@keys': KEYS,
      toJSON: 'undefined',
      user: USER,
      team: '"t1"',
    });
  });

  it('only the list of keys after Reflect.ownKeys', async () => {
    expect(await readsOf((ctx) => Reflect.ownKeys(ctx).length)).toEqual({ '@@keys': KEYS });
  });

  it('a missing key, with another text than an undefined member', async () => {
    expect(await readsOf((ctx) => ctx.owner)).toEqual({ owner: 'undefined' });
    expect(
      await readsOf(
        (ctx) => ctx.owner,
        (_req, base) => ({ ...base, owner: undefined }),
      ),
    ).toEqual({ owner: 'void' });
    expect(await readsOf((ctx) => String(ctx))).toEqual({ '@@symbols': 'undefined', toString: 'undefined' });
    const proto = '__proto__';
    expect(await readsOf((ctx) => ctx[proto] === Object.prototype)).toEqual({ [proto]: 'undefined' });
  });

  it('the reads of the functions it called', async () => {
    const { call } = hostOf({
      schema,
      createContext: (_req, base) => ({
        ...base,
        user: 'ada',
        get lazy() {
          return 1;
        },
      }),
      functions: {
        outer: query({ handler: async (ctx: Ctx) => ctx.runQuery({ name: 'inner' }) }),
        inner: query({ handler: (ctx: Ctx) => [ctx.user, typeof ctx.db.get, ctx.none ?? null] }),
        lazily: query({ handler: async (ctx: Ctx) => ctx.runQuery({ name: 'lazy' }) }),
        lazy: query({ handler: (ctx: Ctx) => ctx.lazy }),
      },
    });
    expect(await call('outer', {}, REQUEST)).toMatchObject({
      body: ['ada', 'function', null],
      seen: { user: '"ada"', none: 'undefined' },
    });
    expect((await call('lazily', {}, REQUEST)).seen).toMatchObject({ lazy: null });
  });

  it('the reads of a called function whose error was caught', async () => {
    const { call } = hostOf({
      schema,
      createContext: contextOf,
      functions: {
        outer: query({ handler: (ctx: Ctx) => ctx.runQuery({ name: 'inner' }).catch(() => 'no') }),
        inner: query({
          handler: (ctx: Ctx) => {
            throw new Error(ctx.team);
          },
        }),
      },
    });
    expect(await call('outer', {}, REQUEST)).toMatchObject({ body: 'no', seen: { team: '"t1"' } });
  });
});

describe('the text is null for', () => {
  it.each<[string, unknown]>([
    ['a function', () => 'ada'],
    ['a Set', new Set()],
    ['a class', new (class User {})()],
    ['a promise', Promise.resolve('ada')],
    ['a proxy', new Proxy({}, {})],
  ])('%s', async (_, user) => {
    expect(
      await readsOf(
        (ctx) => typeof ctx.user,
        (_req, base) => ({ ...base, user }),
      ),
    ).toEqual({ user: null });
  });

  it('a getter, which is called only when the handler reads it', async () => {
    const getter = vi.fn(function (this: { team: string }) {
      return this.team;
    });
    const createContext: CreateContext = (_req, base) =>
      Object.defineProperty({ ...base, team: 't1' }, 'user', { get: getter, enumerable: true });
    const { body, seen } = await run((ctx) => ctx.user, createContext);
    expect(body).toBe('t1');
    expect(withoutPlain(seen)).toEqual({ user: null, team: '"t1"' });
    expect(getter).toHaveBeenCalledTimes(1);
  });

  it('a non-enumerable member, and one under a symbol or a pseudo-key', async () => {
    const key = Symbol('user');
    const createContext: CreateContext = (_req, base) =>
      Object.defineProperty({ ...base, [key]: 'ada', '@@keys': 'x' }, 'hidden', { value: 1 });
    expect(await readsOf((ctx) => ctx.hidden, createContext)).toEqual({ hidden: null });
    expect(await readsOf((ctx) => ctx[key], createContext)).toEqual({ '@@symbols': null });
    expect(await readsOf((ctx) => ctx['@@keys'], createContext)).toEqual({ '@@symbols': null });
    expect(await readsOf((ctx) => Reflect.ownKeys(ctx), createContext)).toEqual({ '@@keys': null });
  });

  it('a value changed during the run; a handler that changes its own copy does not change the original', async () => {
    const kept = { id: 'u1', role: 'admin' };
    const changing: Handler = (ctx) => {
      ctx.user.role = 'none';
      return ctx.user;
    };
    const response = await run(changing, (_req, base) => ({ ...base, user: kept }));
    expect(response).toMatchObject({ body: { id: 'u1', role: 'none' }, seen: { user: USER } });
    expect(kept.role).toBe('admin');
    const user = { role: 'admin' };
    const fn = async (ctx: Ctx): Promise<unknown> => {
      const kept = ctx.user;
      await null;
      user.role = 'none';
      return kept.role;
    };
    expect(await readsOf(fn, (_req, base) => ({ ...base, user }))).toEqual({ user: null });
  });
});

describe('the reads are unknown for a run', () => {
  it.each<[string, Handler]>([
    [
      'sets',
      (ctx) => {
        ctx.user = 'eve';
      },
    ],
    [
      'adds',
      (ctx) => {
        ctx.cache = 1;
      },
    ],
    ['defines', (ctx) => Object.defineProperty(ctx, 'cache', { value: 1 }).cache],
    ['deletes', (ctx) => delete ctx.user],
    ['freezes', (ctx) => Object.freeze(ctx).team],
    ['sets the prototype of', (ctx) => Object.setPrototypeOf(ctx, { a: 1 }).a],
    ['checks isFrozen on', (ctx) => Object.isFrozen(ctx)],
  ])('whose handler %s the context', async (_, handler) => {
    const { ok, seen } = await run(handler);
    expect([ok, seen]).toEqual([true, null]);
  });

  it.each<[string, CreateContext]>([
    ['replaces a part of the base', (_req, base) => ({ ...base, db: { get: base.db.get } })],
    ['leaves one out', (_req, { now, ...base }) => base],
    [
      'hides one behind a getter',
      (_req, { db, ...base }) => ({
        ...base,
        get db() {
          return db;
        },
      }),
    ],
    ['is of a class', (_req, base) => Object.assign(new (class Context {})(), base)],
    ['has no prototype', (_req, base) => Object.assign(Object.create(null), base)],
    ['inherits the base', (_req, base) => Object.create(base)],
    ['is frozen', (_req, base) => Object.freeze({ ...base })],
    ['is a proxy', (_req, base) => new Proxy({ ...base }, {})],
  ])('whose context %s, which is reported as not plain', async (_, createContext) => {
    const { call, engine } = host((ctx) => typeof ctx.now, createContext);
    expect(await call('fn', {}, REQUEST)).toMatchObject({ ok: true, seen: null });
    expect(await engine.readContext(REQUEST)).toMatchObject({ ok: true, body: null, seen: { '@@plain': null } });
  });

  it('whose context loses its base while it runs', async () => {
    const createContext: CreateContext = (_req, base) => {
      const context = { ...base, user: 'ada' };
      void Promise.resolve().then(() => Object.assign(context, { db: null }));
      return context;
    };
    const handler = async (ctx: Ctx) => {
      await new Promise((resolve) => setImmediate(resolve));
      return ctx.db === null;
    };
    expect(await run(handler, createContext)).toMatchObject({ body: false, seen: null });
  });

  it('of an unshared query, a function of another kind, or an in-process call', async () => {
    const unshared = host((ctx) => inspect(ctx, { showProxy: true }).startsWith('Proxy'), contextOf, { share: false });
    expect(await unshared.call('fn', {}, REQUEST)).toMatchObject({ body: false, seen: null });
    const { call, host: own } = host((ctx) => ctx.user);
    for (const name of ['act', 'change']) expect(await call(name, {}, REQUEST)).toMatchObject({ ok: true, seen: null });
    expect((await call('fn')).seen).toBeNull();
    expect((await call('fn', {}, own.registerContext({ user: 'x' }).request)).seen).toBeNull();
  });

  it('of a program without createContext, whose handlers receive no proxy', async () => {
    const handler = (ctx: Ctx) => inspect(ctx, { showProxy: true }).startsWith('Proxy');
    const { call } = hostOf({ schema, functions: { fn: query({ handler }) } });
    expect(await call('fn')).toMatchObject({ body: false, seen: null });
  });
});

describe('the view of a context', () => {
  it('behaves like the context itself', async () => {
    const createContext: CreateContext = (_req, base) =>
      Object.defineProperty(
        {
          ...base,
          greet(this: { user: string }) {
            return `hello ${this.user}`;
          },
        },
        'user',
        { value: 'ada', enumerable: true },
      );
    const { ok, body } = await run(async (ctx) => {
      await null;
      expect(() => {
        ctx.user = 'eve';
      }).toThrow(TypeError);
      return [ctx.greet(), ctx.user, Object.getOwnPropertyDescriptor(ctx, 'user')?.writable, Object.isFrozen(ctx)];
    }, createContext);
    expect([ok, body]).toEqual([true, ['hello ada', 'ada', false, false]]);
  });

  it('records members added to the base; the parts of the base are not extensible', async () => {
    const user = { id: 'ada' };
    // biome-ignore lint/suspicious/noExplicitAny: the compiler forbids it too.
    const onto = (base: any) => Object.assign(base, { user });
    expect(
      await readsOf(
        (ctx) => ctx.user.id,
        (_req, base) => onto(base),
      ),
    ).toEqual({ user: '{"id":"ada"}' });
    for (const part of ['db', 'now', 'runQuery']) {
      const { body } = await run(
        () => 1,
        (_req, base) => onto((base as Record<string, unknown>)[part]),
      );
      expect(body).toMatchObject({ thrown: { message: expect.stringMatching(/not extensible/) } });
    }
  });
});

describe('a context-only call', () => {
  it('reports all members of the context', async () => {
    const handler = vi.fn();
    const { engine } = host(handler, async (_req, base) => ({
      ...base,
      user: { id: 'u1' },
      f: () => 1,
      none: undefined,
    }));
    expect(await engine.readContext(REQUEST)).toMatchObject({
      ok: true,
      body: null,
      held: null,
      writes: null,
      identity: null,
      expiresAt: null,
      seen: {
        '@@keys': '["db","now","runQuery","runMutation","runAction","log","user","f","none"]',
        user: '{"id":"u1"}',
        f: null,
        none: 'void',
      },
    });
    expect(handler).not.toHaveBeenCalled();
  });

  it('reports the same text for each key as a run that reads it', async () => {
    const { call, engine } = host((ctx) => [
      { ...ctx }.user,
      ctx.none === undefined,
      ctx[Symbol.iterator] === undefined,
    ]);
    const { seen: members } = await engine.readContext(REQUEST);
    const { seen } = await call('fn', {}, REQUEST);
    expect(Object.keys(seen ?? {}).sort()).toEqual(['@@keys', '@@plain', '@@symbols', 'none', 'team', 'user']);
    for (const [key, text] of Object.entries(seen ?? {})) expect(members?.[key] ?? 'undefined').toBe(text);
  });

  it('can read and call queries but not write, and reports a fingerprint if the request is keyed', async () => {
    const createContext: CreateContext = async (_req, base) => {
      await expect(base.db.insert('notes', {})).rejects.toThrow(/query/);
      return { ...base, user: await base.runQuery({ name: 'who' }) };
    };
    const { engine } = hostOf({ schema, functions: { who: query({ handler: () => 'ada' }) }, createContext });
    const { identity, seen } = await engine.readContext(REQUEST.replace('{', '{"keyed":true,'));
    expect(identity).toMatch(/./);
    expect(seen).toMatchObject({ user: '"ada"' });
  });

  it('fails with the error of createContext', async () => {
    const refusing = host(
      () => 1,
      () => {
        throw new ConvoyError('UNAUTHORIZED', 'who are you?');
      },
    );
    expect(await refusing.engine.readContext(REQUEST)).toMatchObject({
      ok: false,
      body: { code: 'UNAUTHORIZED', message: 'who are you?' },
      seen: null,
    });
  });
});

describe('expiresAt', () => {
  const until =
    (expiresAt: unknown): CreateContext =>
    (_req, base) => ({ ...base, expiresAt: expiresAt as number });
  const later = Date.now() + 3_600_000;

  it('is reported for a query and a context-only call, but not for a mutation', async () => {
    const { call, engine } = host(() => 1, until(later));
    expect(await call('fn', {}, REQUEST)).toMatchObject({ expiresAt: later, seen: {} });
    expect(await engine.readContext(REQUEST)).toMatchObject({ expiresAt: later, seen: { expiresAt: String(later) } });
    expect((await call('change', {}, REQUEST)).expiresAt).toBeNull();
  });

  it.each([[undefined], [null], [Number.POSITIVE_INFINITY]])('may be %s for no expiry', async (expiresAt) => {
    expect(await run(() => 1, until(expiresAt))).toMatchObject({ ok: true, expiresAt: null });
  });

  it('in the past fails every call with UNAUTHORIZED', async () => {
    const { call, engine } = host(() => 1, until(Date.now()));
    const expired = { ok: false, body: { code: 'UNAUTHORIZED', message: expect.stringMatching(/have expired/) } };
    for (const name of ['fn', 'change', 'act']) expect(await call(name, {}, REQUEST)).toMatchObject(expired);
    expect(await engine.readContext(REQUEST)).toMatchObject(expired);
  });

  it.each([
    ['seconds', 1_900_000_000],
    ['a Date', new Date()],
    ['a string', '2030'],
    ['NaN', Number.NaN],
  ])('given as %s is an internal error', async (_, expiresAt) => {
    const { body } = await run(() => 1, until(expiresAt));
    expect(body).toMatchObject({ thrown: { message: expect.stringMatching(/milliseconds since 1970/) } });
  });
});
