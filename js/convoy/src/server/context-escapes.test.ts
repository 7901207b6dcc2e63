/**
 * What code can do to an object without its proxy being asked, one by one. Each way either counts as looking at what it
 * shows, or shows the same to everyone. That it would tell callers apart is tried with a query that is not shared, whose
 * context is not observed.
 */

import assert from 'node:assert';
import { AsyncLocalStorage, executionAsyncResource } from 'node:async_hooks';
import { Console } from 'node:console';
import { PassThrough } from 'node:stream';
import { format, formatWithOptions, inspect, isDeepStrictEqual, types } from 'node:util';
import { deserialize, serialize } from 'node:v8';
import { MessageChannel } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { hostOf, type Response } from '../../testing/scripted-engine.js';
import { mayShare, outcome } from '../../testing/sharing.js';
import { defineSchema } from '../schema/index.js';
import type { CreateContext } from './contexts.js';
import { query } from './functions.js';

// biome-ignore lint/suspicious/noExplicitAny: these handlers do with their context whatever can be done with one.
type Ctx = any;
type Way = (ctx: Ctx) => unknown;

/** Puts a private field onto any object. */
class Mark extends (class {
  constructor(object: object) {
    // biome-ignore lint/correctness/noConstructorReturn: that is the trick.
    return object;
  }
} as new (
  object: object,
) => object) {
  readonly #name: string;
  constructor(object: object, name: string) {
    super(object);
    this.#name = name;
  }
  static of(object: object): string {
    return #name in object ? (object as Mark).#name : 'unmarked';
  }
}

/** What a module keeps about people and the objects that stand for them. */
const users = new Map(['ada', 'eve'].map((name) => [name, { role: 'guest', tags: ['a'], team: { id: 1 } }]));
const nameOf = new WeakMap<object, string>();
const adas = new WeakSet<object>();
const local = new AsyncLocalStorage<string>();
const hidden = Symbol('name');

/** Marks objects, but for those that must stay what they are. */
function know(name: string, ...objects: object[]): void {
  for (const object of objects) {
    nameOf.set(object, name);
    if (name === 'ada') adas.add(object);
  }
}

/** The objects that another one holds where everyone can reach them. */
function objectsOf(object: object): object[] {
  return Object.values(object).filter((value) => typeof value === 'object' && value !== null);
}

/** An object of a built-in class that says it is a plain one, with nothing in it. */
function disguised<T extends object>(object: T): T {
  return Object.setPrototypeOf(object, Object.prototype);
}

const createContext: CreateContext = (req, base) => {
  const name = String(req.headers.authorization);
  const user = users.get(name) as { role: string; tags: string[]; team: object };
  know(name, user, user.tags, user.team, base, ...Object.values(base as object), ...objectsOf(base.db));
  local.enterWith(name);
  Object.assign(executionAsyncResource(), { [hidden]: name });
  const once = { x: 1 };
  const context = {
    ...base,
    name,
    user,
    again: name === 'ada' ? user : { ...user },
    pair: [once, { ...once }],
    slots: {
      map: disguised(new Map([['name', name]])),
      set: disguised(new Set([name])),
      date: disguised(new Date(name === 'ada' ? 0 : 1)),
      bytes: disguised(new DataView(new Uint8Array([name.length, name.charCodeAt(0)]).buffer)),
      boxed: disguised(Object(name === 'ada' ? 1 : 2)),
    },
    promise: disguised(Promise.resolve(name)),
  };
  know(name, context);
  for (const object of [user, user.tags, context]) {
    if (Mark.of(object) === 'unmarked') new Mark(object, name);
  }
  return context;
};

const errorWith = (ctx: Ctx): Error => Object.assign(new Error('failed'), { ctx });

function printed(print: (to: Console) => void): string {
  const stdout = new PassThrough();
  print(new Console({ stdout, stderr: stdout }));
  return String(stdout.read());
}

/** What it gives, or the class of what it throws. */
function called(act: () => unknown): unknown {
  try {
    return act();
  } catch (error) {
    return (error as Error).constructor.name;
  }
}

function messageOf(act: () => unknown): string {
  try {
    act();
    return 'no error';
  } catch (error) {
    return (error as Error).message;
  }
}

/** Only what depends on the caller: printing a context prints its database, too. */
const saysWho = (text: string): string[] => text.match(/\b(ada|eve)\b/g) ?? [];

/** Reads the context, however it does: a look at all that it shows. */
const READING: Record<string, Way> = {
  'inspect()': (ctx) => saysWho(inspect(ctx)),
  'inspect() with hidden members': (ctx) => saysWho(inspect(ctx, { showHidden: true })),
  'inspect() with getters': (ctx) => saysWho(inspect(ctx, { getters: true })),
  'inspect() that shows proxies': (ctx) => saysWho(inspect(ctx, { showProxy: true })),
  'inspect() of what holds it': (ctx) => saysWho(inspect({ list: [ctx], map: new Map([[1, ctx]]) }, { depth: 9 })),
  "format('%o')": (ctx) => saysWho(format('%o', ctx)),
  "format('%O')": (ctx) => saysWho(format('%O', ctx)),
  "format('%s')": (ctx) => saysWho(format('%s', ctx)),
  'format() without a format': (ctx) => saysWho(format(ctx)),
  'formatWithOptions()': (ctx) => saysWho(formatWithOptions({ depth: 3 }, ctx)),
  'console.log()': (ctx) => saysWho(printed((to) => to.log(ctx))),
  'console.error() of an error that carries it': (ctx) => saysWho(printed((to) => to.error(errorWith(ctx)))),
  'console.table()': (ctx) => printed((to) => to.table([ctx], ['name'])),
  'an error that carries it, inspected': (ctx) => saysWho(inspect(errorWith(ctx))),
  'a cause, inspected': (ctx) => saysWho(inspect(new Error('failed', { cause: ctx }), { depth: 9 })),
  JSON: (ctx) => JSON.stringify(ctx, (key, value) => (key === '' || key === 'name' ? value : undefined)),
  "format('%j')": (ctx) => format('%j', { ...ctx, db: null }).includes('ada'),
  'Object.entries()': (ctx) => Object.entries(ctx).find(([key]) => key === 'name'),
  'Object.getOwnPropertyDescriptors()': (ctx) => Object.getOwnPropertyDescriptors(ctx).name,
  'Reflect.get()': (ctx) => Reflect.get(ctx, 'name'),
  'Reflect.getOwnPropertyDescriptor()': (ctx) => Reflect.getOwnPropertyDescriptor(ctx, 'name'),
  'for … in': (ctx) => {
    for (const key in ctx) if (key === 'name') return ctx[key];
    return null;
  },
  'with()': (ctx) => new Function('ctx', 'with (ctx) { return name; }')(ctx),
  'a heir': (ctx) => Object.create(ctx).name,
  'another proxy': (ctx) => new Proxy(ctx, {}).name,
  'structuredClone() of a copy': (ctx) => structuredClone(JSON.parse(JSON.stringify({ ...ctx, db: null }))).name,
  'isDeepStrictEqual()': (ctx) => isDeepStrictEqual({ ...ctx, db: null }.name, 'ada'),
  'a message of assert': (ctx) => messageOf(() => assert.strictEqual(ctx.name, 'bob')),
  'a nested object, serialised': (ctx) => deserialize(serialize({ name: ctx.name })),
  'the slots of a promise': (ctx) => Promise.prototype.then.call(ctx.promise, (name) => name),
};

/** Shows the same to everyone, although the objects that `createContext` has made would tell callers apart. */
const BLIND: Record<string, Way> = {
  'inspect() without custom inspection': (ctx) => saysWho(inspect(ctx, { customInspect: false })),
  'console.dir()': (ctx) => saysWho(printed((to) => to.dir(ctx))),
  'the message of deepStrictEqual()': (ctx) => saysWho(messageOf(() => assert.deepStrictEqual([ctx], []))),
  'structuredClone()': (ctx) => messageOf(() => structuredClone(ctx)),
  'serialize()': (ctx) => messageOf(() => serialize(ctx)),
  'postMessage()': (ctx) => {
    const { port1 } = new MessageChannel();
    try {
      return messageOf(() => port1.postMessage(ctx));
    } finally {
      port1.close();
    }
  },
  'a WeakMap, asked for the context': (ctx) => nameOf.get(ctx) ?? null,
  'a private field of the context': (ctx) => Mark.of(ctx),
  'a WeakMap, asked for an object in it': (ctx) => nameOf.get(ctx.user) ?? null,
  'a WeakMap, asked for what is deeper': (ctx) => nameOf.get(ctx.user.team) ?? null,
  'a WeakMap, asked for a list in it': (ctx) => nameOf.get(ctx.user.tags) ?? null,
  'a WeakMap, asked for what it describes': (ctx) =>
    nameOf.get(Object.getOwnPropertyDescriptor(ctx, 'user')?.value) ?? null,
  'a WeakMap, asked for what was spread': (ctx) => nameOf.get({ ...ctx, name: null }.user) ?? null,
  'a WeakMap, asked for the database': (ctx) => nameOf.get(ctx.db) ?? null,
  'a WeakMap, asked for what the database holds': (ctx) => objectsOf(ctx.db).map((held) => nameOf.get(held) ?? null),
  'a WeakMap, asked for functions of the base': (ctx) =>
    ['now', 'runQuery', 'runMutation', 'runAction'].map((part) => nameOf.get(ctx[part]) ?? null),
  'a WeakMap, asked by a function it calls': (ctx) => ctx.runQuery({ name: 'known' }),
  'a WeakSet': (ctx) => adas.has(ctx.user),
  '===': (ctx) => ctx.user === users.get('ada'),
  '=== on what is deeper': (ctx) => ctx.user.team === users.get('ada')?.team,
  'Object.is()': (ctx) => Object.is(ctx.user, users.get('ada')),
  'includes()': (ctx) => [...users.values()].indexOf(ctx.user),
  'a key of a Map': (ctx) =>
    new Map([...users].map(([name, user]): [object, string] => [user, name])).get(ctx.user) ?? null,
  '=== between two members': (ctx) => ctx.user === ctx.again,
  'a private field of an object in it': (ctx) => [Mark.of(ctx.user), Mark.of(ctx.user.tags)],
  'the slots of a Map': (ctx) => called(() => Map.prototype.get.call(ctx.slots.map, 'name')),
  'the slots of a Set': (ctx) => called(() => Set.prototype.has.call(ctx.slots.set, 'ada')),
  'the slots of a Date': (ctx) => called(() => Date.prototype.getTime.call(ctx.slots.date)),
  'the slots of bytes': (ctx) => called(() => DataView.prototype.getUint8.call(ctx.slots.bytes, 1)),
  'the slots of a boxed number': (ctx) => called(() => Number.prototype.valueOf.call(ctx.slots.boxed)),
  'inspect() of slots': (ctx) => inspect(ctx.slots),
  'structuredClone() of slots': (ctx) => inspect(structuredClone(ctx.slots.map)),
  'an async context': () => [local.getStore() ?? null, Reflect.get(executionAsyncResource(), hidden) ?? null],
};

const NOT_APART = new Set([
  // They show nothing of an unobserved context either, or only that it is one.
  'structuredClone()',
  'serialize()',
  'postMessage()',
  'inspect() of slots',
  'a WeakMap, asked for what the database holds',
  'an async context',
]);

async function ask(way: Way, name: string, share = true): Promise<{ run: Response; says: Response['seen'] }> {
  const known = query({ handler: (ctx: Ctx) => [nameOf.get(ctx.user) ?? null, nameOf.get(ctx.db) ?? null] });
  const functions = { fn: query({ share, handler: async (ctx: Ctx) => (await way(ctx)) ?? null }), known };
  const { call, engine } = hostOf({ schema: defineSchema({}), functions, createContext });
  const request = JSON.stringify({ method: 'POST', url: '/', headers: { authorization: name } });
  return { run: await call('fn', {}, request), says: (await engine.whoAsks(request)).seen };
}

it.each(Object.entries(READING))('%s counts as looking', async (_, way) => {
  const [ada, eve] = await Promise.all([ask(way, 'ada'), ask(way, 'eve')]);
  expect([ada.run.ok, eve.run.ok]).toEqual([true, true]);
  expect(outcome(ada.run)).not.toEqual(outcome(eve.run));
  expect([mayShare(ada.run.seen, eve.says), mayShare(eve.run.seen, ada.says)]).toEqual([false, false]);
});

it.each(Object.entries(BLIND))('%s shows everyone the same', async (name, way) => {
  const [ada, eve] = await Promise.all([ask(way, 'ada'), ask(way, 'eve')]);
  expect([ada.run.ok, eve.run.ok]).toEqual([true, true]);
  expect(outcome(ada.run)).toEqual(outcome(eve.run));
  // Without the observer it tells them apart.
  const unobserved = await Promise.all([ask(way, 'ada', false), ask(way, 'eve', false)]);
  const [one, other] = unobserved.map(({ run }) => JSON.stringify(outcome(run)));
  expect(one === other, String(one)).toBe(NOT_APART.has(name));
});

it('objects have one identity within a run, also for the functions it calls', async () => {
  const way: Way = async (ctx) => {
    const kept = ctx.user;
    ctx.user.visits = 1;
    return [ctx.user === kept, { ...ctx }.user === kept, ctx.pair[0] === ctx.pair[1], types.isProxy(ctx.user)];
  };
  expect(outcome((await ask(way, 'ada')).run)).toEqual([true, true, false, false]);
  expect(users.get('ada')).not.toHaveProperty('visits');
});

it.each<[string, (base: object) => object]>([
  ['that takes no more members', (base) => Object.preventExtensions({ ...base, name: 'ada' })],
  ['of a class', (base) => Object.assign(new (class Context {})(), base, { name: 'ada' })],
  ['that is a proxy', (base) => new Proxy({ ...base, name: 'ada' }, {})],
])('a context %s is given as it is, and nothing is shared', async (_, made) => {
  const contexts: object[] = [];
  const { call } = hostOf({
    schema: defineSchema({}),
    functions: { fn: query({ handler: (ctx: Ctx) => contexts.includes(ctx) }) },
    createContext: (_req, base) => {
      contexts.push(made(base));
      return contexts[0] as object;
    },
  });
  const request = JSON.stringify({ method: 'POST', url: '/', headers: {} });
  expect(await call('fn', {}, request)).toMatchObject({ body: true, seen: null });
});

it('what stands behind a view keeps to the rules of proxies, whatever its handler does', async () => {
  const way: Way = (ctx) => {
    Object.defineProperty(ctx, 'fixed', { value: { a: 1 }, enumerable: true });
    Object.defineProperty(ctx, 'name', { writable: false, configurable: false });
    const described = Object.getOwnPropertyDescriptors(ctx);
    delete ctx.slots;
    Object.freeze(ctx);
    const user = ctx.user;
    return [
      described.fixed?.configurable,
      ctx.fixed.a,
      Reflect.set(ctx, 'name', 'bob'),
      Reflect.deleteProperty(ctx, 'name'),
      Object.isFrozen(ctx),
      Reflect.ownKeys(ctx).includes('slots'),
      ctx.user === user,
      Object.getPrototypeOf(ctx) === Object.prototype,
      ctx.name,
      inspect(ctx).includes("name: 'ada'"),
    ];
  };
  const { run } = await ask(way, 'ada');
  expect(run.seen).toBeNull();
  expect(outcome(run)).toEqual([false, 1, false, false, true, false, true, true, 'ada', true]);
});

it('a member that is fixed is described as it is', async () => {
  const { call } = hostOf({
    schema: defineSchema({}),
    functions: {
      fn: query({
        handler: (ctx: Ctx) => {
          const { value, ...flags } = Object.getOwnPropertyDescriptor(ctx, 'user') as PropertyDescriptor;
          return [flags, value === ctx.user, value.role];
        },
      }),
    },
    createContext: (_req, base) =>
      Object.defineProperty({ ...base }, 'user', { value: { role: 'a' }, enumerable: true }),
  });
  const request = JSON.stringify({ method: 'POST', url: '/', headers: {} });
  const flags = { writable: false, enumerable: true, configurable: false };
  expect(await call('fn', {}, request)).toMatchObject({ body: [flags, true, 'a'], seen: { user: '=#{"role":"a"}' } });
});

it('values are told apart by how they and their members are fixed', async () => {
  const forms: ((base: object) => object)[] = [
    (base) => ({ ...base, user: { role: 'a' } }),
    (base) => ({ ...base, user: Object.freeze({ role: 'a' }) }),
    ...[
      { writable: true, configurable: false },
      { writable: false, configurable: true },
      { writable: false, configurable: false },
    ].map((flags) => (base: object) => {
      return Object.defineProperty({ ...base }, 'user', { value: { role: 'a' }, enumerable: true, ...flags });
    }),
  ];
  const texts = await Promise.all(
    forms.map(async (form) => {
      const functions = { fn: query({ handler: (ctx: Ctx) => ctx.user.role }) };
      const { call } = hostOf({ schema: defineSchema({}), functions, createContext: (_req, base) => form(base) });
      return (await call('fn', {}, JSON.stringify({ method: 'POST', url: '/', headers: {} }))).seen?.user;
    }),
  );
  expect(new Set(texts).size).toBe(forms.length);
});

it('captureStackTrace() onto a context tells nothing of it', async () => {
  const way: Way = (ctx) => messageOf(() => Error.captureStackTrace(ctx));
  const [ada, eve] = await Promise.all([ask(way, 'ada'), ask(way, 'eve')]);
  expect(outcome(ada.run)).toEqual(outcome(eve.run));
});
