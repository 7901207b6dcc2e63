/**
 * Operations that may bypass the traps of the observing proxy. Each either is recorded as a read of the values it shows,
 * or gives the same result for every caller. An unshared query, whose context is not observed, shows that the operation
 * would distinguish callers otherwise.
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

// biome-ignore lint/suspicious/noExplicitAny: these handlers use their context in ways that no type allows.
type Ctx = any;
type Operation = (ctx: Ctx) => unknown;

/** Adds a private field to any object. */
class Mark extends (class {
  constructor(object: object) {
    // biome-ignore lint/correctness/noConstructorReturn: the returned object receives the private field.
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

/** Module state that maps objects to users. */
const users = new Map(['ada', 'eve'].map((name) => [name, { role: 'guest', tags: ['a'], team: { id: 1 } }]));
const nameOf = new WeakMap<object, string>();
const adas = new WeakSet<object>();
const local = new AsyncLocalStorage<string>();
const hidden = Symbol('name');

/** Registers objects of a user in the module state. */
function register(name: string, ...objects: object[]): void {
  for (const object of objects) {
    nameOf.set(object, name);
    if (name === 'ada') adas.add(object);
  }
}

/** The objects among the members of another one. */
function objectsOf(object: object): object[] {
  return Object.values(object).filter((value) => typeof value === 'object' && value !== null);
}

/** An instance of a built-in class with the prototype of a plain object. */
function disguised<T extends object>(object: T): T {
  return Object.setPrototypeOf(object, Object.prototype);
}

const createContext: CreateContext = (req, base) => {
  const name = String(req.headers.authorization);
  const user = users.get(name) as { role: string; tags: string[]; team: object };
  register(name, user, user.tags, user.team, base, ...Object.values(base as object), ...objectsOf(base.db));
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
  register(name, context);
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

/** The result of `act`, or the class name of its error. */
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

/** The user names in a text. The rest may depend on other things, since printing a context also prints its database. */
const userNames = (text: string): string[] => text.match(/\b(ada|eve)\b/g) ?? [];

/** Operations that must be recorded as reads. */
const READING: Record<string, Operation> = {
  'inspect()': (ctx) => userNames(inspect(ctx)),
  'inspect() with non-enumerable members': (ctx) => userNames(inspect(ctx, { showHidden: true })),
  'inspect() with getters': (ctx) => userNames(inspect(ctx, { getters: true })),
  'inspect() with showProxy': (ctx) => userNames(inspect(ctx, { showProxy: true })),
  'inspect() of a value that contains it': (ctx) =>
    userNames(inspect({ list: [ctx], map: new Map([[1, ctx]]) }, { depth: 9 })),
  "format('%o')": (ctx) => userNames(format('%o', ctx)),
  "format('%O')": (ctx) => userNames(format('%O', ctx)),
  "format('%s')": (ctx) => userNames(format('%s', ctx)),
  'format() without a format': (ctx) => userNames(format(ctx)),
  'formatWithOptions()': (ctx) => userNames(formatWithOptions({ depth: 3 }, ctx)),
  'console.log()': (ctx) => userNames(printed((to) => to.log(ctx))),
  'console.error() of an error with the context as a member': (ctx) =>
    userNames(printed((to) => to.error(errorWith(ctx)))),
  'console.table()': (ctx) => printed((to) => to.table([ctx], ['name'])),
  'inspect() of an error with the context as a member': (ctx) => userNames(inspect(errorWith(ctx))),
  'inspect() of an error with the context as its cause': (ctx) =>
    userNames(inspect(new Error('failed', { cause: ctx }), { depth: 9 })),
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
  'an object that inherits from it': (ctx) => Object.create(ctx).name,
  'another proxy': (ctx) => new Proxy(ctx, {}).name,
  'structuredClone() of a copy': (ctx) => structuredClone(JSON.parse(JSON.stringify({ ...ctx, db: null }))).name,
  'isDeepStrictEqual()': (ctx) => isDeepStrictEqual({ ...ctx, db: null }.name, 'ada'),
  'the message of assert.strictEqual()': (ctx) => messageOf(() => assert.strictEqual(ctx.name, 'bob')),
  'serialize() of a member': (ctx) => deserialize(serialize({ name: ctx.name })),
  'the slots of a promise': (ctx) => Promise.prototype.then.call(ctx.promise, (name) => name),
};

/** Operations with the same result for every caller, although they would distinguish the objects of `createContext`. */
const INDISTINGUISHABLE: Record<string, Operation> = {
  'inspect() without custom inspection': (ctx) => userNames(inspect(ctx, { customInspect: false })),
  'console.dir()': (ctx) => userNames(printed((to) => to.dir(ctx))),
  'the message of deepStrictEqual()': (ctx) => userNames(messageOf(() => assert.deepStrictEqual([ctx], []))),
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
  'a WeakMap lookup of the context': (ctx) => nameOf.get(ctx) ?? null,
  'a private field of the context': (ctx) => Mark.of(ctx),
  'a WeakMap lookup of a member': (ctx) => nameOf.get(ctx.user) ?? null,
  'a WeakMap lookup of a nested object': (ctx) => nameOf.get(ctx.user.team) ?? null,
  'a WeakMap lookup of a nested list': (ctx) => nameOf.get(ctx.user.tags) ?? null,
  'a WeakMap lookup of the value of a property descriptor': (ctx) =>
    nameOf.get(Object.getOwnPropertyDescriptor(ctx, 'user')?.value) ?? null,
  'a WeakMap lookup of a spread member': (ctx) => nameOf.get({ ...ctx, name: null }.user) ?? null,
  'a WeakMap lookup of the database': (ctx) => nameOf.get(ctx.db) ?? null,
  'a WeakMap lookup of members of the database': (ctx) => objectsOf(ctx.db).map((member) => nameOf.get(member) ?? null),
  'a WeakMap lookup of functions of the base': (ctx) =>
    ['now', 'runQuery', 'runMutation', 'runAction', 'log'].map((part) => nameOf.get(ctx[part]) ?? null),
  'a WeakMap lookup in a called function': (ctx) => ctx.runQuery({ name: 'known' }),
  'a WeakSet': (ctx) => adas.has(ctx.user),
  '===': (ctx) => ctx.user === users.get('ada'),
  '=== on a nested object': (ctx) => ctx.user.team === users.get('ada')?.team,
  'Object.is()': (ctx) => Object.is(ctx.user, users.get('ada')),
  'includes()': (ctx) => [...users.values()].indexOf(ctx.user),
  'a key of a Map': (ctx) =>
    new Map([...users].map(([name, user]): [object, string] => [user, name])).get(ctx.user) ?? null,
  '=== between two members': (ctx) => ctx.user === ctx.again,
  'a private field of a member': (ctx) => [Mark.of(ctx.user), Mark.of(ctx.user.tags)],
  'the slots of a Map': (ctx) => called(() => Map.prototype.get.call(ctx.slots.map, 'name')),
  'the slots of a Set': (ctx) => called(() => Set.prototype.has.call(ctx.slots.set, 'ada')),
  'the slots of a Date': (ctx) => called(() => Date.prototype.getTime.call(ctx.slots.date)),
  'the slots of bytes': (ctx) => called(() => DataView.prototype.getUint8.call(ctx.slots.bytes, 1)),
  'the slots of a boxed number': (ctx) => called(() => Number.prototype.valueOf.call(ctx.slots.boxed)),
  'inspect() of slots': (ctx) => inspect(ctx.slots),
  'structuredClone() of slots': (ctx) => inspect(structuredClone(ctx.slots.map)),
  'an async context': () => [local.getStore() ?? null, Reflect.get(executionAsyncResource(), hidden) ?? null],
};

/** Operations that do not distinguish callers even without the observer. */
const NEVER_DISTINGUISHING = new Set([
  'structuredClone()',
  'serialize()',
  'postMessage()',
  'inspect() of slots',
  'a WeakMap lookup of members of the database',
  'an async context',
]);

/** The response of a query that performs `operation` for the caller `name`, and all members of that caller's context. */
async function perform(
  operation: Operation,
  name: string,
  share = true,
): Promise<{ run: Response; context: Response['seen'] }> {
  const known = query({ handler: (ctx: Ctx) => [nameOf.get(ctx.user) ?? null, nameOf.get(ctx.db) ?? null] });
  const functions = { fn: query({ share, handler: async (ctx: Ctx) => (await operation(ctx)) ?? null }), known };
  const { call, engine } = hostOf({ schema: defineSchema({}), functions, createContext });
  const request = JSON.stringify({ method: 'POST', url: '/', headers: { authorization: name } });
  return { run: await call('fn', {}, request), context: (await engine.readContext(request)).seen };
}

it.each(Object.entries(READING))('%s is recorded as a read', async (_, operation) => {
  const [ada, eve] = await Promise.all([perform(operation, 'ada'), perform(operation, 'eve')]);
  expect([ada.run.ok, eve.run.ok]).toEqual([true, true]);
  expect(outcome(ada.run)).not.toEqual(outcome(eve.run));
  expect([mayShare(ada.run.seen, eve.context), mayShare(eve.run.seen, ada.context)]).toEqual([false, false]);
});

it.each(Object.entries(INDISTINGUISHABLE))('%s gives the same result for every caller', async (name, operation) => {
  const [ada, eve] = await Promise.all([perform(operation, 'ada'), perform(operation, 'eve')]);
  expect([ada.run.ok, eve.run.ok]).toEqual([true, true]);
  expect(outcome(ada.run)).toEqual(outcome(eve.run));
  // Without the observer it distinguishes them.
  const unobserved = await Promise.all([perform(operation, 'ada', false), perform(operation, 'eve', false)]);
  const [one, other] = unobserved.map(({ run }) => JSON.stringify(outcome(run)));
  expect(one === other, String(one)).toBe(NEVER_DISTINGUISHING.has(name));
});

it('an object keeps its identity within a run', async () => {
  const operation: Operation = async (ctx) => {
    const kept = ctx.user;
    ctx.user.visits = 1;
    return [ctx.user === kept, { ...ctx }.user === kept, ctx.pair[0] === ctx.pair[1], types.isProxy(ctx.user)];
  };
  expect(outcome((await perform(operation, 'ada')).run)).toEqual([true, true, false, false]);
  expect(users.get('ada')).not.toHaveProperty('visits');
});

it.each<[string, (base: object) => object]>([
  ['that is not extensible', (base) => Object.preventExtensions({ ...base, name: 'ada' })],
  ['of a class', (base) => Object.assign(new (class Context {})(), base, { name: 'ada' })],
  ['that is a proxy', (base) => new Proxy({ ...base, name: 'ada' }, {})],
])('a context %s is passed unobserved, and its result is not shared', async (_, made) => {
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

it('the proxy keeps its invariants when the handler defines, deletes and freezes members', async () => {
  const operation: Operation = (ctx) => {
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
  const { run } = await perform(operation, 'ada');
  expect(run.seen).toBeNull();
  expect(outcome(run)).toEqual([false, 1, false, false, true, false, true, true, 'ada', true]);
});

it('the property descriptor of a read-only member has its real attributes', async () => {
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

it('values that differ in their property attributes have different texts', async () => {
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

it('captureStackTrace() on a context gives the same result for every caller', async () => {
  const operation: Operation = (ctx) => messageOf(() => Error.captureStackTrace(ctx));
  const [ada, eve] = await Promise.all([perform(operation, 'ada'), perform(operation, 'eve')]);
  expect(outcome(ada.run)).toEqual(outcome(eve.run));
});
