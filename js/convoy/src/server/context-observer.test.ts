/** What a query's answer says of what it has looked at, and of what a context says of its caller. */

import { inspect } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { hostOf, type Response } from '../../testing/scripted-engine.js';
import { defineSchema } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import type { CreateContext } from './contexts.js';
import { action, mutation, type QueryOptions, query } from './functions.js';

// biome-ignore lint/suspicious/noExplicitAny: these handlers do with their context whatever can be done with one.
type Ctx = any;
type Handler = (ctx: Ctx) => unknown;

const schema = defineSchema({});
const REQUEST = JSON.stringify({ method: 'POST', url: '/', headers: {}, ip: '::1' });
const KEYS = '["db","now","runQuery","runMutation","runAction","user","team"]';
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

/** What a run has seen beside that its context is plain, which every run has. */
async function seenBy(handler: Handler, createContext?: CreateContext): Promise<Response['seen']> {
  return besidePlain((await run(handler, createContext)).seen);
}

function besidePlain(seen: Response['seen']): Response['seen'] {
  if (seen === null) return null;
  const { '@@plain': plain, ...rest } = seen;
  expect(plain).toBe('true');
  return rest;
}

describe('a query has seen', () => {
  it('that its context is plain where it has looked only at what it is made by', async () => {
    class Special {}
    expect(await seenBy((ctx) => ctx instanceof Special)).toEqual({});
    expect(await seenBy((ctx) => Object.getPrototypeOf(ctx) === null)).toEqual({});
  });

  it('nothing where it has looked at nothing of its caller', async () => {
    expect(await seenBy(() => 1)).toEqual({});
    expect(await seenBy((ctx) => [ctx.now() > 0, 'db' in ctx, typeof ctx.db.query, Object.hasOwn(ctx, 'db')])).toEqual(
      {},
    );
  });

  it.each<[string, Handler]>([
    ['reads it', (ctx) => ctx.user],
    ['takes it out', ({ user }) => user],
    ['asks whether it is there', (ctx) => 'user' in ctx],
    ['asks whether it is its own', (ctx) => Object.hasOwn(ctx, 'user')],
    ['asks for its description', (ctx) => Object.getOwnPropertyDescriptor(ctx, 'user')],
    ['reads it through an heir', (ctx) => Object.create(ctx).user],
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
    ['breaks after it', (ctx) => ctx.user.no.such],
    [
      'reads it when it throws',
      (ctx) => {
        throw new ConvoyError('FORBIDDEN', 'no', { details: { toJSON: () => ctx.user } });
      },
    ],
    ['reads it when its result is sent', (ctx) => ({ toJSON: () => ctx.user })],
  ])('a key when its handler %s', async (_, handler) => {
    expect(await seenBy(handler)).toEqual({ user: USER });
  });

  it('only what the branch it took has looked at', async () => {
    const handler: Handler = (ctx) => (ctx.team === 't1' ? 'all' : ctx.user.id);
    expect(await seenBy(handler)).toEqual({ team: '"t1"' });
    expect(await seenBy(handler, (_req, base) => ({ ...base, user: { id: 'u2' }, team: 't2' }))).toEqual({
      team: '"t2"',
      user: '{"id":"u2"}',
    });
  });

  it.each<[string, Handler]>([
    ['copies it', (ctx) => ({ ...ctx }).user],
    ['takes the rest', ({ db, ...rest }) => rest.team],
    ['lists it', (ctx) => Object.keys(ctx)],
    [
      'counts in it',
      (ctx) => {
        const keys = [];
        for (const key in ctx) keys.push(key);
        return keys;
      },
    ],
    ['assigns from it', (ctx) => Object.assign({}, ctx).team],
  ])('everything when its handler %s', async (_, handler) => {
    expect(await seenBy(handler)).toEqual({ '@@keys': KEYS, user: USER, team: '"t1"' });
  });

  it('everything where the context is logged as JSON, and what JSON asks for', async () => {
    expect(await seenBy((ctx) => JSON.stringify(ctx, (key, value) => (key === 'db' ? undefined : value)))).toEqual({
      '@@keys': KEYS,
      toJSON: 'undefined',
      user: USER,
      team: '"t1"',
    });
  });

  it('which keys there are, where it asked for no more', async () => {
    expect(await seenBy((ctx) => Reflect.ownKeys(ctx).length)).toEqual({ '@@keys': KEYS });
  });

  it('that something is not there, which differs from something that is undefined', async () => {
    expect(await seenBy((ctx) => ctx.owner)).toEqual({ owner: 'undefined' });
    expect(
      await seenBy(
        (ctx) => ctx.owner,
        (_req, base) => ({ ...base, owner: undefined }),
      ),
    ).toEqual({ owner: 'void' });
    expect(await seenBy((ctx) => String(ctx))).toEqual({ '@@symbols': 'undefined', toString: 'undefined' });
    const proto = '__proto__';
    expect(await seenBy((ctx) => ctx[proto] === Object.prototype)).toEqual({ [proto]: 'undefined' });
  });

  it('what functions saw that it called', async () => {
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

  it('a key after all where a function was caught that had seen it', async () => {
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

describe('what can be the same as no other is', () => {
  it.each<[string, unknown]>([
    ['a function', () => 'ada'],
    ['a Set', new Set()],
    ['a class', new (class User {})()],
    ['a promise', Promise.resolve('ada')],
    ['a proxy', new Proxy({}, {})],
  ])('%s', async (_, user) => {
    expect(
      await seenBy(
        (ctx) => typeof ctx.user,
        (_req, base) => ({ ...base, user }),
      ),
    ).toEqual({ user: null });
  });

  it('a getter, which is asked as often as its handler asks', async () => {
    const getter = vi.fn(function (this: { team: string }) {
      return this.team;
    });
    const createContext: CreateContext = (_req, base) =>
      Object.defineProperty({ ...base, team: 't1' }, 'user', { get: getter, enumerable: true });
    const { body, seen } = await run((ctx) => ctx.user, createContext);
    expect(body).toBe('t1');
    expect(besidePlain(seen)).toEqual({ user: null, team: '"t1"' });
    expect(getter).toHaveBeenCalledTimes(1);
  });

  it('a hidden member, and one under a symbol or a name of ours', async () => {
    const key = Symbol('user');
    const createContext: CreateContext = (_req, base) =>
      Object.defineProperty({ ...base, [key]: 'ada', '@@keys': 'x' }, 'hidden', { value: 1 });
    expect(await seenBy((ctx) => ctx.hidden, createContext)).toEqual({ hidden: null });
    expect(await seenBy((ctx) => ctx[key], createContext)).toEqual({ '@@symbols': null });
    expect(await seenBy((ctx) => ctx['@@keys'], createContext)).toEqual({ '@@symbols': null });
    expect(await seenBy((ctx) => Reflect.ownKeys(ctx), createContext)).toEqual({ '@@keys': null });
  });

  it('what was changed while somebody looked; what its handler changes of its own is nobody else’s', async () => {
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
    expect(await seenBy(fn, (_req, base) => ({ ...base, user }))).toEqual({ user: null });
  });
});

describe('nothing is known of a run', () => {
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
    ['asks for the fixedness of', (ctx) => Object.isFrozen(ctx)],
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
  ])('whose context %s, and it says that it is like none', async (_, createContext) => {
    const { call, engine } = host((ctx) => typeof ctx.now, createContext);
    expect(await call('fn', {}, REQUEST)).toMatchObject({ ok: true, seen: null });
    expect(await engine.whoAsks(REQUEST)).toMatchObject({ ok: true, body: null, seen: { '@@plain': null } });
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

  it('that is not shared, is no query, or is asked for by the program itself', async () => {
    const unshared = host((ctx) => inspect(ctx, { showProxy: true }).startsWith('Proxy'), contextOf, { share: false });
    expect(await unshared.call('fn', {}, REQUEST)).toMatchObject({ body: false, seen: null });
    const { call, host: own } = host((ctx) => ctx.user);
    for (const name of ['act', 'change']) expect(await call(name, {}, REQUEST)).toMatchObject({ ok: true, seen: null });
    expect((await call('fn')).seen).toBeNull();
    expect((await call('fn', {}, own.registerContext({ user: 'x' }).request)).seen).toBeNull();
  });

  it('of a program without createContext, whose handlers get no proxy', async () => {
    const handler = (ctx: Ctx) => inspect(ctx, { showProxy: true }).startsWith('Proxy');
    const { call } = hostOf({ schema, functions: { fn: query({ handler }) } });
    expect(await call('fn')).toMatchObject({ body: false, seen: null });
  });
});

describe('a handler sees its context as it is', () => {
  it('whatever it does with it', async () => {
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

  it('and nobody can hang onto the base what the observer would not see', async () => {
    const user = { id: 'ada' };
    // biome-ignore lint/suspicious/noExplicitAny: the compiler forbids it too.
    const onto = (base: any) => Object.assign(base, { user });
    expect(
      await seenBy(
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

describe('a context alone', () => {
  it('is answered with everything it says', async () => {
    const handler = vi.fn();
    const { engine } = host(handler, async (_req, base) => ({
      ...base,
      user: { id: 'u1' },
      f: () => 1,
      none: undefined,
    }));
    expect(await engine.whoAsks(REQUEST)).toMatchObject({
      ok: true,
      body: null,
      held: null,
      identity: null,
      expiresAt: null,
      seen: {
        '@@keys': '["db","now","runQuery","runMutation","runAction","user","f","none"]',
        user: '{"id":"u1"}',
        f: null,
        none: 'void',
      },
    });
    expect(handler).not.toHaveBeenCalled();
  });

  it('says the same under each key as a run that looks at it', async () => {
    const { call, engine } = host((ctx) => [
      { ...ctx }.user,
      ctx.none === undefined,
      ctx[Symbol.iterator] === undefined,
    ]);
    const { seen: said } = await engine.whoAsks(REQUEST);
    const { seen } = await call('fn', {}, REQUEST);
    expect(Object.keys(seen ?? {}).sort()).toEqual(['@@keys', '@@plain', '@@symbols', 'none', 'team', 'user']);
    for (const [key, text] of Object.entries(seen ?? {})) expect(said?.[key] ?? 'undefined').toBe(text);
  });

  it('reads as a query does, calls queries, and says who asks where that is wanted', async () => {
    const createContext: CreateContext = async (_req, base) => {
      await expect(base.db.insert('notes', {})).rejects.toThrow(/query/);
      return { ...base, user: await base.runQuery({ name: 'who' }) };
    };
    const { engine } = hostOf({ schema, functions: { who: query({ handler: () => 'ada' }) }, createContext });
    const { identity, seen } = await engine.whoAsks(REQUEST.replace('{', '{"keyed":true,'));
    expect(identity).toMatch(/./);
    expect(seen).toMatchObject({ user: '"ada"' });
  });

  it('fails as any call does', async () => {
    const refusing = host(
      () => 1,
      () => {
        throw new ConvoyError('UNAUTHORIZED', 'who are you?');
      },
    );
    expect(await refusing.engine.whoAsks(REQUEST)).toMatchObject({
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

  it('is said of a query and of a context alone', async () => {
    const { call, engine } = host(() => 1, until(later));
    expect(await call('fn', {}, REQUEST)).toMatchObject({ expiresAt: later, seen: {} });
    expect(await engine.whoAsks(REQUEST)).toMatchObject({ expiresAt: later, seen: { expiresAt: String(later) } });
    expect((await call('change', {}, REQUEST)).expiresAt).toBeNull();
  });

  it.each([[undefined], [null], [Number.POSITIVE_INFINITY]])('may be %s, and then never comes', async (expiresAt) => {
    expect(await run(() => 1, until(expiresAt))).toMatchObject({ ok: true, expiresAt: null });
  });

  it('in the past refuses every call', async () => {
    const { call, engine } = host(() => 1, until(Date.now()));
    const refused = { ok: false, body: { code: 'UNAUTHORIZED', message: expect.stringMatching(/have expired/) } };
    for (const name of ['fn', 'change', 'act']) expect(await call(name, {}, REQUEST)).toMatchObject(refused);
    expect(await engine.whoAsks(REQUEST)).toMatchObject(refused);
  });

  it.each([
    ['seconds', 1_900_000_000],
    ['a Date', new Date()],
    ['a text', '2030'],
    ['no number', Number.NaN],
  ])('that is %s is a mistake of the program', async (_, expiresAt) => {
    const { body } = await run(() => 1, until(expiresAt));
    expect(body).toMatchObject({ thrown: { message: expect.stringMatching(/milliseconds since 1970/) } });
  });
});
