/** `ctx.auth`: what it answers, what a query reports of it, and who shares results by that. */

import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { hostOf, type Response } from '../../testing/scripted-engine.js';
import { mayShare } from '../../testing/sharing.js';
import { makeQueryRef } from '../protocol/refs.js';
import { defineSchema } from '../schema/index.js';
import { type Auth, type AuthUser, contextFromJson, createAuth, isAuth } from './auth.js';
import { callerFingerprint } from './caller-fingerprint.js';
import type { BaseContext, CreateContext } from './contexts.js';
import { createFunctionHelpers } from './functions.js';

interface User extends AuthUser {
  readonly name: string;
  readonly address?: { readonly city: string };
}

interface Context extends BaseContext {
  readonly auth: Auth<User>;
}

const { query, mutation, action, authed } = createFunctionHelpers<Context>();
type Handler = (ctx: { readonly auth: Auth<User> }) => unknown;

const ANN: User = { id: 'u1', name: 'Ann', roles: ['admin'], organization: 'acme', address: { city: 'Oslo' } };
const REQUEST = JSON.stringify({ method: 'POST', url: '/', headers: {}, ip: '::1' });

function hostFor(handler: Handler, user: User | null) {
  const createContext: CreateContext = (_req, base) => ({ ...base, auth: createAuth(user) });
  const functions = {
    fn: query({ handler }),
    outer: query({ handler: (ctx) => ctx.runQuery(makeQueryRef<Record<string, never>, unknown>('fn')) }),
    change: mutation({ handler }),
    act: action({ handler }),
    guarded: authed.query({ handler: (ctx) => ctx.auth.user.name }),
    guardedChange: authed.internalMutation({ handler: (ctx) => ctx.auth.user.name }),
  };
  return hostOf({ schema: defineSchema({}), functions, createContext });
}

/** The questions of a run, without the two that each run with `ctx.auth` has. */
async function questionsOf(handler: Handler, user: User | null = ANN, name = 'fn'): Promise<Response['seen']> {
  const { ok, seen, body } = await hostFor(handler, user).call(name, {}, REQUEST);
  expect(ok, JSON.stringify(body)).toBe(true);
  const { '@@plain': plain, auth, ...questions } = seen ?? {};
  expect([plain, auth]).toEqual(['true', 'Auth']);
  return Object.fromEntries(Object.entries(questions).map(([key, text]) => [key.replace('@@auth.', ''), text]));
}

describe('a query reports', () => {
  it.each<[string, Handler, object]>([
    ['that someone is signed in, for require()', (ctx) => void ctx.auth.require(), { signedIn: 'true' }],
    ['that someone is signed in, for a test of user', (ctx) => ctx.auth.user !== null, { signedIn: 'true' }],
    ['a role', (ctx) => ctx.auth.can('admin'), { 'can.admin': 'true' }],
    ['a role that the user does not have', (ctx) => ctx.auth.can('owner'), { 'can.owner': 'undefined' }],
    ['a field', (ctx) => ctx.auth.user?.name, { signedIn: 'true', 'user.name': '"Ann"' }],
    [
      'a field of the result of require()',
      (ctx) => ctx.auth.require().name,
      { signedIn: 'true', 'user.name': '"Ann"' },
    ],
    [
      'a member of a field as the field',
      (ctx) => ctx.auth.user?.address?.city,
      { signedIn: 'true', 'user.address': '!{"city":"Oslo"}' },
    ],
    [
      'a field that is missing',
      (ctx) => (ctx.auth.user as unknown as { age?: number }).age ?? null,
      { signedIn: 'true', 'user.age': 'undefined' },
    ],
    ['a test for a field', (ctx) => 'name' in ctx.auth.require(), { signedIn: 'true', 'user.name': '"Ann"' }],
    [
      'a field of a copy made by destructuring',
      (ctx) => {
        const { name } = ctx.auth.require();
        return name;
      },
      { signedIn: 'true', 'user.name': '"Ann"' },
    ],
  ])('%s', async (_what, handler, questions) => {
    expect(await questionsOf(handler)).toEqual(questions);
    expect(await questionsOf(handler, ANN, 'outer')).toEqual(questions);
  });

  it('what a caller who is not signed in is told', async () => {
    expect(await questionsOf((ctx) => ctx.auth.user === null, null)).toEqual({ signedIn: 'undefined' });
    expect(await questionsOf((ctx) => ctx.auth.can('admin'), null)).toEqual({ 'can.admin': 'undefined' });
    expect(await questionsOf((ctx) => ctx.auth.can(() => true), null)).toEqual({ user: 'undefined' });
  });

  it.each<[string, Handler]>([
    ['a predicate', (ctx) => ctx.auth.can((user) => user.name === 'Ann')],
    ['its JSON', (ctx) => JSON.stringify(ctx.auth)],
    ['the JSON of the user', (ctx) => JSON.stringify(ctx.auth.user)],
    ['spreading the user', (ctx) => ({ ...ctx.auth.user })],
    ['the keys of the user', (ctx) => Object.keys(ctx.auth.require())],
    ['printing it', (ctx) => inspect(ctx.auth)],
    ['printing the user', (ctx) => inspect(ctx.auth.user)],
    ['printing the context', (ctx) => inspect(ctx)],
    ['a role that is no valid Unicode', (ctx) => ctx.auth.can('\ud800')],
  ])('all of the user for %s', async (_what, handler) => {
    expect(await questionsOf(handler)).toMatchObject({ user: expect.stringContaining('Ann') });
  });
});

describe('ctx.auth answers the same whether it is observed or not', () => {
  it.each<[string, Handler]>([
    ['fields', (ctx) => [ctx.auth.user?.name, ctx.auth.require().address?.city, ctx.auth.can('admin')]],
    ['JSON', (ctx) => [JSON.stringify(ctx.auth), JSON.stringify({ ...ctx.auth.user })]],
    ['printing', (ctx) => [inspect(ctx.auth), inspect(ctx.auth.user)]],
    ['keys', (ctx) => [Object.keys(ctx.auth.require()), Object.hasOwn(ctx.auth.require(), 'name')]],
    ['methods of objects', (ctx) => [String(ctx.auth.user), ctx.auth.require().toString === Object.prototype.toString]],
    [
      'identity',
      (ctx) => {
        const { user, auth } = { user: ctx.auth.user, auth: ctx.auth };
        return [auth === ctx.auth, user === ctx.auth.user, user?.address === ctx.auth.require().address];
      },
    ],
    [
      'writes, which are refused',
      (ctx) => {
        const tried = [
          () => Object.assign(ctx.auth.require(), { name: 'Eve' }),
          () => Object.assign(ctx.auth.require().address ?? {}, { city: 'Rome' }),
          () => Object.assign(ctx.auth, { user: null }),
        ];
        const outcomes = tried.map((attempt) => {
          try {
            attempt();
            return 'done';
          } catch (error) {
            return (error as Error).name;
          }
        });
        return [...outcomes, Reflect.deleteProperty(ctx.auth.require(), 'name'), ctx.auth.user?.name];
      },
    ],
  ])('%s', async (_what, handler) => {
    const host = hostFor(handler, ANN);
    const [observed, changed, acted] = [
      await host.call('fn', {}, REQUEST),
      await host.call('change', {}, REQUEST),
      await host.call('act', {}, REQUEST),
    ];
    expect(observed.ok).toBe(true);
    expect(observed.body).toEqual(changed.body);
    expect(observed.body).toEqual(acted.body);
  });
});

describe('results are shared', () => {
  const users: (User | null)[] = [
    ANN,
    { ...ANN, id: 'u2' },
    { ...ANN, name: 'Bob' },
    { ...ANN, roles: ['member'] },
    { ...ANN, roles: [], permissions: ['admin'] },
    { id: 'u1', name: 'Ann' },
    null,
  ];
  const handlers: readonly Handler[] = [
    () => 1,
    (ctx) => ctx.auth.user !== null,
    (ctx) => ctx.auth.can('admin'),
    (ctx) => ctx.auth.can('member') || (ctx.auth.user?.id ?? null),
    (ctx) => ctx.auth.user?.name ?? null,
    (ctx) => ctx.auth.user?.roles ?? null,
    (ctx) => ctx.auth.can((user) => user.organization === 'acme'),
    (ctx) => JSON.stringify(ctx.auth),
  ];

  it('only with callers for whom a run has the same result', async () => {
    let shared = 0;
    for (const handler of handlers) {
      for (const [one, other] of users.flatMap((one) => users.map((other) => [one, other] as const))) {
        const run = await hostFor(handler, one).call('fn', {}, REQUEST);
        const otherHost = hostFor(handler, other);
        if (!mayShare(run.seen, (await otherHost.engine.readContext(REQUEST)).seen)) continue;
        if (one !== other) shared++;
        expect((await otherHost.call('fn', {}, REQUEST)).body).toEqual(run.body);
      }
    }
    // 42 pairs for the handler without a question; the others share between some pairs.
    expect(shared).toBeGreaterThan(100);
  });

  it.each<[string, Handler, boolean]>([
    ['with every signed-in caller after require()', (ctx) => void ctx.auth.require(), true],
    ['with every caller of the role', (ctx) => ctx.auth.can('admin'), true],
    ['with the same user only after a read of user.id', (ctx) => ctx.auth.require().id, false],
  ])('%s', async (_what, handler, expected) => {
    const run = await hostFor(handler, ANN).call('fn', {}, REQUEST);
    const { seen } = await hostFor(handler, { id: 'u9', name: 'Zoe', roles: ['admin'] }).engine.readContext(REQUEST);
    expect(mayShare(run.seen, seen)).toBe(expected);
  });

  it('never between a context with and one without `ctx.auth`', async () => {
    const read: Handler = (ctx) => typeof ctx.auth;
    const bare = hostOf({
      schema: defineSchema({}),
      functions: { fn: query({ handler: read }) },
      createContext: (_req, base) => ({ ...base }),
    });
    const contexts = [await hostFor(read, null).engine.readContext(REQUEST), await bare.engine.readContext(REQUEST)];
    const runs = [await hostFor(read, null).call('fn', {}, REQUEST), await bare.call('fn', {}, REQUEST)];
    expect(runs.map(({ seen }) => contexts.map((context) => mayShare(seen, context.seen)))).toEqual([
      [true, false],
      [false, true],
    ]);
  });
});

describe('a function defined with authed', () => {
  it('runs for a signed-in caller, and shares its result by what it reads', async () => {
    const { body, seen } = await hostFor(() => null, ANN).call('guarded', {}, REQUEST);
    expect(body).toBe('Ann');
    expect(Object.keys(seen ?? {}).sort()).toEqual(['@@auth.signedIn', '@@auth.user.name', '@@plain', 'auth']);
  });

  it('is refused with UNAUTHORIZED for others, internal functions too', async () => {
    for (const name of ['guarded', 'guardedChange']) {
      const { ok, body } = await hostFor(() => null, null).call(name, {}, REQUEST);
      expect([ok, body]).toEqual([false, { code: 'UNAUTHORIZED', message: 'Sign in to do this.', status: 401 }]);
    }
  });

  it('says what is missing if the context has no auth', async () => {
    const functions = { guarded: authed.query({ handler: () => 1 }) };
    const host = hostOf({
      schema: defineSchema({}),
      functions,
      createContext: (_req, base) => ({ ...base, auth: {} }),
    });
    const { ok, body } = await host.call('guarded', {}, REQUEST);
    expect(ok).toBe(false);
    expect(JSON.stringify(body)).toMatch(/needs `ctx.auth`, and this context has none.+createContext/);
  });
});

describe('createAuth', () => {
  it('keeps a copy of the user, which later changes do not reach', () => {
    const given = { id: 'u1', name: 'Ann', tags: ['a'] };
    const auth = createAuth(given);
    given.tags.push('b');
    given.name = 'Eve';
    expect(auth.user).toEqual({ id: 'u1', name: 'Ann', tags: ['a'] });
    expect(Object.isFrozen(auth) && Object.isFrozen(auth.user) && Object.isFrozen(auth.user?.tags)).toBe(true);
  });

  it.each<[unknown, RegExp]>([
    [{ id: 'u1', born: new Date(0) }, /`user.born` is a Date.+getTime/],
    [{ id: 'u1', may: () => true }, /`user.may` is a function/],
    [{ id: 'u1', seen: new Map() }, /`user.seen` is a Map/],
    [{ id: 'u1', at: Number.NaN }, /`user.at` is NaN/],
    [{ name: 'Ann' }, /`user.id` is no text/],
    [{ id: '' }, /`user.id` is no text, or is empty/],
    [{ id: 7 }, /`user.id` is no text/],
    [{ id: 'u1', roles: 'admin' }, /`user.roles` is no list of texts/],
    [{ id: 'u1', permissions: [1] }, /`user.permissions` is no list of texts/],
    [{ id: 'u1', organization: 3 }, /`user.organization` is no text/],
    [undefined, /`user` is undefined/],
    ['u1', /`user` is no object/],
    [[], /`user` is no object/],
  ])('refuses %o', (user, message) => {
    expect(() => createAuth(user as AuthUser)).toThrow(message);
  });

  it('refuses a predicate without a boolean, such as a promise', () => {
    const auth = createAuth(ANN);
    expect(() => auth.can((async () => false) as never)).toThrow('must return true or false');
    expect(() => auth.can(7 as never)).toThrow('takes the name of a role');
  });

  it('is recognized by its symbol, in any copy of the package', () => {
    class Other {
      [Symbol.for('convoy.auth')]() {
        return null;
      }
    }
    expect([createAuth(null), new Other(), {}, null, 'auth', Object.create(null)].map(isAuth)).toEqual([
      true,
      true,
      false,
      false,
      false,
      false,
    ]);
  });
});

describe('a context as JSON', () => {
  it('has an Auth where it has the JSON of one', () => {
    for (const auth of [createAuth(ANN), createAuth(null)]) {
      const made = contextFromJson(JSON.parse(JSON.stringify({ auth, team: 't1' }))) as { auth: Auth; team: string };
      expect([isAuth(made.auth), made.auth.user, made.team]).toEqual([true, auth.user, 't1']);
    }
  });

  it.each([[{}], [{ auth: null }], [{ auth: 'x' }], [{ auth: { user: 'u1' } }], [{ auth: { user: ANN, session: 1 } }]])(
    'is left alone otherwise: %o',
    (context) => {
      expect(contextFromJson(context)).toBe(context);
    },
  );
});

describe('the caller of a repeated mutation', () => {
  const fingerprint = (user: AuthUser | null, more: object = {}): string =>
    callerFingerprint({ auth: createAuth(user), ...more }, {}, JSON.parse(REQUEST));

  it('is the user in an organization, in any session', () => {
    expect(fingerprint({ ...ANN, roles: [] }, { expiresAt: 1e13 })).toBe(fingerprint(ANN));
    const others = [null, { ...ANN, id: 'u2' }, { ...ANN, organization: 'other' }, { id: 'u1' }].map((user) =>
      fingerprint(user),
    );
    expect(new Set([fingerprint(ANN), ...others]).size).toBe(5);
  });

  it('is recognized without the request', () => {
    const first = callerFingerprint({ auth: createAuth(ANN) }, {}, { headers: { authorization: 'Bearer one' } });
    const second = callerFingerprint({ auth: createAuth(ANN) }, {}, { headers: { authorization: 'Bearer two' } });
    expect(second).toBe(first);
  });
});
