/**
 * A result stored under one user's idempotency key is never returned to another user, however a context identifies
 * them.
 */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { type Convoy, type ConvoyRequest, createConvoy } from '@avvos/convoy/node';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';

const schema = defineSchema({ secrets: defineTable({ text: z.string() }) });
type Base = BaseContext<DataModelOf<typeof schema>>;
const { mutation } = createFunctionHelpers<Base>();

class Session {
  readonly #user: string;
  constructor(user: string) {
    this.#user = user;
  }
  get user(): string {
    return this.#user;
  }
}

function circle(user: string): object {
  const one: { self?: object; user: string } = { user };
  one.self = one;
  return one;
}

const nested = (user: string, levels: number): object => (levels === 0 ? { user } : { a: nested(user, levels - 1) });

/** Ways in which a context may identify the caller, beside a tenant that all users share. */
const FORMS: Record<string, (user: string) => object> = {
  'a hidden member': (user) => Object.defineProperty({ tenant: 't' }, 'user', { value: user }),
  'a hidden member deeper': (user) => ({ tenant: 't', session: Object.defineProperty({}, 'user', { value: user }) }),
  'a symbol': (user) => ({ tenant: 't', [Symbol('user')]: user }),
  'a getter': (user) => ({
    tenant: 't',
    get user() {
      return user;
    },
  }),
  'an inherited member': (user) => ({ tenant: 't', session: Object.create({ user }) }),
  'an object of a class': (user) => ({ tenant: 't', session: new Session(user) }),
  'a Map': (user) => ({ tenant: 't', session: new Map([['user', user]]) }),
  'a Set': (user) => ({ tenant: 't', session: new Set([user]) }),
  'a Map with the prototype of a plain object': (user) => ({
    session: Object.setPrototypeOf(new Map([['user', user]]), Object.prototype),
  }),
  'a function': (user) => ({ tenant: 't', whoami: () => user }),
  'a circle': (user) => ({ tenant: 't', session: circle(user) }),
  'a deeply nested member': (user) => ({ tenant: 't', session: nested(user, 30) }),
  'a proxy': (user) => ({ tenant: 't', session: new Proxy({}, { get: () => user }) }),
  'a list with a name': (user) => ({ tenant: 't', session: Object.assign(['a'], { user }) }),
  'a Date with a name': (user) => ({ tenant: 't', session: Object.assign(new Date(0), { user }) }),
  'plain data': (user) => ({ tenant: 't', user }),
  'no difference': () => ({ tenant: 't', user: { id: 'everyone' } }),
};

/** The caller is identified by a custom header, which Convoy does not know as a credential. */
function createContext(req: ConvoyRequest, base: Base): object {
  const added = FORMS[decodeURIComponent(String(req.headers['x-form']))]?.(String(req.headers['x-user'])) ?? {};
  return Object.defineProperties({ ...base }, Object.getOwnPropertyDescriptors(added));
}

let runs = 0;
const keep = mutation({
  input: { text: z.string() },
  handler: async (ctx, { text }) => {
    await ctx.db.insert('secrets', { text });
    return ++runs;
  },
});

/** Ignores idempotency keys. */
const partly = mutation({
  input: { text: z.string() },
  transaction: false,
  handler: async (ctx, { text }) => {
    await ctx.db.insert('secrets', { text });
    return ++runs;
  },
});

let convoy: Convoy;
let baseUrl: string;
beforeAll(async () => {
  const options = { databaseUrl: freshDatabaseUrl(), createDatabase: true };
  convoy = await createConvoy({
    schema,
    functions: { keep, partly },
    createContext: createContext as never,
    ...options,
  });
  const { port } = await convoy.listen({ port: 0 });
  baseUrl = `http://127.0.0.1:${port}`;
});
afterAll(() => convoy.close());

function send(form: string, user: string, headers: Record<string, string> = {}, name = 'keep'): Promise<Response> {
  return fetch(`${baseUrl}/api/mutation/${name}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'idempotency-key': `key of ${encodeURIComponent(form)}`,
      'x-form': encodeURIComponent(form),
      'x-user': user,
      ...headers,
    },
    body: JSON.stringify({ text: 'x' }),
  });
}

async function call(form: string, user: string, headers: Record<string, string> = {}) {
  const response = await send(form, user, headers);
  const answer = (await response.json()) as { readonly ok: boolean; readonly data: number };
  expect(answer.ok, JSON.stringify(answer)).toBe(true);
  return { data: answer.data, replayed: response.headers.get('idempotency-replayed') === 'true' };
}

const DISTINGUISHABLE = Object.keys(FORMS).filter((form) => form !== 'no difference');

it.each(DISTINGUISHABLE)('another user with the same key does not receive the stored result: %s', async (form) => {
  const ada = await call(form, 'ada');
  const eve = await call(form, 'eve');
  expect([ada.replayed, eve.replayed]).toEqual([false, false]);
  expect(eve.data).not.toBe(ada.data);
  // Each user receives their own result when repeating the call, also from another client.
  expect(await call(form, 'ada')).toEqual({ data: ada.data, replayed: true });
  expect(await call(form, 'eve', { 'user-agent': 'another' })).toEqual({ data: eve.data, replayed: true });
});

it('control: users with equal contexts share the stored result', async () => {
  const ada = await call('no difference', 'ada');
  expect(await call('no difference', 'eve')).toEqual({ data: ada.data, replayed: true });
});

const IDENTIFYING = ['plain data', 'no difference'];
const SECOND = { 'convoy-attempt': '2' };

it.each(DISTINGUISHABLE.filter((form) => !IDENTIFYING.includes(form)))(
  'a client that repeats calls by itself is refused where they cannot be recognized: %s',
  async (form) => {
    const before = runs;
    const response = await send(form, 'zoe', { ...SECOND, 'idempotency-key': 'repeated' });
    expect(response.status).toBe(409);
    expect(await response.json()).toMatchObject({ error: { code: 'CONFLICT', details: { repeatable: false } } });
    expect(runs).toBe(before);
  },
);

it.each(IDENTIFYING)('a client that repeats calls by itself receives the stored result: %s', async (form) => {
  const first = await call(form, 'zoe');
  expect(await call(form, 'zoe', SECOND)).toEqual({ data: first.data, replayed: true });
});

it('a client that repeats calls by itself is refused where the mutation ignores keys', async () => {
  expect((await send('plain data', 'zoe', {}, 'partly')).status).toBe(200);
  const before = runs;
  const response = await send('plain data', 'zoe', SECOND, 'partly');
  expect(await response.json()).toMatchObject({ error: { code: 'CONFLICT', details: { repeatable: false } } });
  expect(runs).toBe(before);
});
