import { afterEach, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { hostOf, type Response, uuid } from '../../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../../schema/index.js';
import { type Auth, createAuth } from '../auth.js';
import type { Operation } from '../call.js';
import type { BaseContext } from '../contexts.js';
import { internalQuery, mutation, query } from '../functions.js';
import { checkedRowLevelSecurity, MAX_ROLE_BYTES } from './row-level-security.js';
import { settingTexts } from './row-settings.js';

const unhandled = vi.fn();
process.on('unhandledRejection', unhandled);
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).not.toHaveBeenCalled();
});

const ID = `notes:${uuid(0xa)}` as never;
const schema = defineSchema({ notes: defineTable({ owner: z.string() }) });
const REQUEST = JSON.stringify({ method: 'POST', url: '/api', headers: { authorization: 'ada' } });

interface Context extends BaseContext {
  readonly auth: Auth;
  readonly team: string;
}
type Handler = (ctx: Context) => unknown;

interface RunSettings {
  readonly kind?: 'query' | 'mutation';
  readonly request?: string;
}

/** Runs a handler as a client, with these settings of row-level security. */
async function run(
  settings: (ctx: Context) => unknown,
  handler: Handler,
  { kind = 'query', request = REQUEST }: RunSettings = {},
): Promise<Response & { readonly ops: Operation[] }> {
  const define = kind === 'query' ? query : mutation;
  const find = internalQuery({ handler: (ctx) => ctx.db.get(ID) });
  const createContext = ({ headers }: { headers: { authorization?: string } }, base: object) => ({
    ...base,
    auth: createAuth(headers.authorization === undefined ? null : { id: headers.authorization, roles: ['admin'] }),
    team: 'red',
    find,
  });
  const functions = { find, fn: define({ handler: handler as never }) };
  const rls = { role: 'app_user', settings: settings as never };
  const host = hostOf({ schema, createContext: createContext as never, functions, rls });
  const response = await host.call('fn', {}, request);
  return { ...response, ops: host.engine.ops };
}

const get: Handler = ({ db }) => db.get(ID);

describe('settings', () => {
  it('may have the whole context, as JSON', async () => {
    const { ops } = await run((ctx) => ({ 'app.context': JSON.stringify(ctx) }), get);
    const settings = (ops[0] as { readonly settings?: Record<string, string> }).settings;
    expect(JSON.parse(settings?.['app.context'] ?? '')).toMatchObject({ team: 'red', auth: { user: { id: 'ada' } } });
  });

  it('are made once per call, also if functions join it', async () => {
    const settings = vi.fn(() => ({ 'app.user': 'ada' }));
    const handler = async (ctx: Context & { find?: never }) => {
      await ctx.db.get(ID);
      await ctx.runQuery(ctx.find as never, {} as never);
      await ctx.db.transaction((tx) => tx.get(ID));
    };
    const { ok, ops } = await run(settings, handler as Handler, { kind: 'mutation' });
    expect({ ok, ops: ops.length }).toEqual({ ok: true, ops: 3 });
    expect(settings).toHaveBeenCalledOnce();
  });

  it('are made before the first operation under the role, and not without one', async () => {
    const settings = vi.fn(() => ({}));
    await run(settings, () => 'no operation');
    await run(settings, ({ db }) => db.system.get(ID));
    expect(settings).not.toHaveBeenCalled();
  });

  it('record what they read of the context', async () => {
    const seen = async (settings: (ctx: Context) => unknown, handler = get) => (await run(settings, handler)).seen;
    const byUser = (ctx: Context) => ({ 'app.user': ctx.auth.user?.id });
    const signedIn = { '@@plain': 'true', auth: 'Auth', '@@auth.signedIn': 'true' };
    expect(await seen(byUser)).toEqual({ ...signedIn, '@@auth.user.id': '"ada"' });
    const byRole = (ctx: Context) => ({ 'app.admin': ctx.auth.can('admin') });
    expect(await seen(byRole)).toEqual({ '@@plain': 'true', auth: 'Auth', '@@auth.can.admin': 'true' });
    expect(await seen((ctx) => ({ 'app.team': ctx.team }))).toEqual({ '@@plain': 'true', team: '"red"' });
    expect(await seen(() => ({}))).toEqual({ '@@plain': 'true' });
    expect(await seen(byUser, () => 1)).toEqual({ '@@plain': 'true' });
    expect(await seen(byUser, ({ db }) => db.system.get(ID))).toEqual({ '@@plain': 'true' });
  });

  it('may depend on the time, as far as the query then runs again', async () => {
    const { refreshMs, ops } = await run(({ now }) => ({ 'app.late': now(60_000) > 0 }), get);
    expect({ refreshMs, ops }).toMatchObject({ refreshMs: 60_000, ops: [{ settings: { 'app.late': 'true' } }] });
  });

  it('that fail with a ConvoyError fail the operations with it', async () => {
    const settings = vi.fn((ctx: Context) => ({ 'app.user': ctx.auth.require().id }));
    const anonymous = JSON.stringify({ headers: {} });
    const handler: Handler = async ({ db }) => {
      await db.get(ID).catch(() => {});
      return db.query('notes').collect();
    };
    const { ok, body, ops, seen } = await run(settings, handler, { request: anonymous });
    expect({ ok, body, ops }).toMatchObject({ ok: false, body: { code: 'UNAUTHORIZED' }, ops: [] });
    expect(seen).toEqual({ '@@plain': 'true', auth: 'Auth', '@@auth.signedIn': 'undefined' });
    expect(settings).toHaveBeenCalledOnce();
  });

  it('that fail otherwise fail the call, also if the operation is not awaited', async () => {
    const failing = () => {
      throw new Error('oops');
    };
    for (const handler of [get, ({ db }: Context) => void db.insert('notes', { owner: 'x' })] as Handler[]) {
      const { ok, body, ops } = await run(failing, handler, { kind: 'mutation' });
      expect({ ok, body, ops }).toMatchObject({ ok: false, body: { thrown: { message: 'oops' } }, ops: [] });
    }
  });

  it.each<[string, (ctx: Context & { find?: never }) => unknown, string]>([
    ['a promise', async () => ({}), 'rls.settings returned a promise, but it is synchronous.'],
    ['a promise that rejects', () => Promise.reject(new Error('x')), 'rls.settings returned a promise'],
    ['the database', ({ db }) => ({ 'app.user': db.get(ID) }), 'rls.settings used ctx.db.get, but'],
    ['the database as the system', ({ db }) => ({ 'app.user': db.system }), 'rls.settings used ctx.db.system, but'],
    ['a function', (ctx) => ({ 'app.user': ctx.runQuery(ctx.find as never, {} as never) }), 'used ctx.runQuery, but'],
  ])('cannot use %s', async (_, settings, message) => {
    const { ok, body, ops } = await run(settings as never, get);
    expect({ ok, body, ops }).toMatchObject({
      ok: false,
      body: { thrown: { message: expect.stringContaining(message) } },
      ops: [],
    });
    expect(JSON.stringify(body)).toContain('Look up in createContext what');
  });

  it('cannot use the database of the handler either', async () => {
    let used: Promise<unknown> | undefined;
    let handlerDb: Context['db'] | undefined;
    const settings = () => {
      used = handlerDb?.get(ID);
      return {};
    };
    const { ok, ops } = await run(settings, async ({ db }) => {
      handlerDb = db;
      await db.get(ID);
    });
    expect({ ok, ops: ops.length }).toEqual({ ok: true, ops: 1 });
    await expect(used).rejects.toThrow('rls.settings used the ctx.db of a handler');
  });
});

describe('the texts of settings', () => {
  it('are those of the values', () => {
    const made = {
      'app.a': 'x',
      'app.b': 1.5,
      'app.c': -0,
      'app.d': true,
      'app.e': null,
      'app.f': undefined,
      'a.b.C_$1': '',
    };
    const expected = {
      'app.a': 'x',
      'app.b': '1.5',
      'app.c': '0',
      'app.d': 'true',
      'app.e': '',
      'app.f': '',
      'a.b.C_$1': '',
    };
    expect(settingTexts(made)).toEqual(expected);
    expect(settingTexts(Object.assign(Object.create(null), made))).toEqual(expected);
    expect(settingTexts({})).toEqual({});
    const long = 'é'.repeat(4096);
    expect(settingTexts({ 'app.long': long })).toEqual({ 'app.long': long });
    const many = Object.fromEntries(Array.from({ length: 32 }, (_, n) => [`app.n${n}`, `${n}`]));
    expect(settingTexts(many)).toEqual(many);
  });

  it.each<[unknown, string]>([
    [undefined, 'rls.settings returned undefined; return an object'],
    [null, 'rls.settings returned null; return an object'],
    [['app.user'], 'return an object'],
    [new Map([['app.user', 'x']]), 'return an object'],
    ['app.user', 'return an object'],
    [{ user: 'x' }, 'returned "user", which is not the name of a custom setting'],
    [{ 'app.': 'x' }, '"app."'],
    [{ '.user': 'x' }, '".user"'],
    [{ 'app..user': 'x' }, '"app..user"'],
    [{ 'app.1st': 'x' }, '"app.1st"'],
    [{ 'app.us er': 'x' }, '"app.us er"'],
    [{ 'app.user\n': 'x' }, '"app.user\\n"'],
    [{ 'app.ü': 'x' }, '"app.ü"'],
    [{ "app.a'; drop role x; --": 'x' }, 'not the name of a custom setting'],
    [{ 'convoy.user': 'x' }, "returned convoy.user, but convoy.… is Convoy's own"],
    [{ '_CONVOY.user': 'x' }, "_CONVOY.… is Convoy's own"],
    [{ 'app.user': 'x', 'App.User': 'y' }, 'returned app.user and App.User, which are one setting'],
    [{ 'app.user': { id: 1 } }, 'app.user is an object; give a text'],
    [{ 'app.user': ['x'] }, 'Send lists and objects as text'],
    [{ 'app.user': 1n }, 'app.user is 1; give a text'],
    [{ 'app.user': Symbol('x') }, 'give a text'],
    [{ 'app.user': () => 'x' }, 'give a text'],
    [{ 'app.user': Number.NaN }, 'app.user is NaN'],
    [{ 'app.user': Number.POSITIVE_INFINITY }, 'app.user is Infinity'],
    [{ 'app.user': 'a\u0000b' }, 'app.user contains the character \\u0000'],
    [{ 'app.user': 'a\ud800' }, 'app.user contains an unpaired surrogate'],
    [{ 'app.user': 'é'.repeat(4097) }, 'app.user has 8194 bytes, and 8192 are the most'],
    [
      Object.fromEntries(Array.from({ length: 33 }, (_, n) => [`app.n${n}`, n])),
      'returned 33 settings, and 32 are the most',
    ],
  ])('%o is refused', (made, message) => {
    expect(() => settingTexts(made)).toThrow(TypeError);
    expect(() => settingTexts(made)).toThrow(message);
  });
});

describe('the option rls', () => {
  const settings = () => ({});

  it('is a role and a function', () => {
    const rls = { role: 'app_user', settings };
    expect(checkedRowLevelSecurity(rls)).toBe(rls);
    expect(checkedRowLevelSecurity(undefined)).toBeNull();
    for (const role of ['App User', 'x'.repeat(MAX_ROLE_BYTES), 'pgbouncer', 'nonesuch']) {
      expect(checkedRowLevelSecurity({ role, settings })?.role).toBe(role);
    }
  });

  it.each<[unknown, string]>([
    [null, 'The option rls is null, which has no role'],
    ['app_user', 'The option rls is "app_user", which has no role'],
    [settings, 'which has no role'],
    [{ settings }, 'rls.role is undefined; give the name of a Postgres role'],
    [{ role: '', settings }, 'rls.role is ""'],
    [{ role: 7, settings }, 'rls.role is 7'],
    [{ role: 'a\u0000', settings }, 'give the name of a Postgres role'],
    [
      { role: 'é'.repeat((MAX_ROLE_BYTES + 1) / 2), settings },
      'rls.role has 64 bytes, and Postgres cuts off names after 63',
    ],
    [{ role: 'none', settings }, 'a name that Postgres reserves'],
    [{ role: 'public', settings }, 'a name that Postgres reserves'],
    [{ role: 'pg_read_all_data', settings }, 'a name that Postgres reserves'],
    [{ role: 'app_user' }, 'rls.settings is undefined; give a function of the context'],
    [{ role: 'app_user', settings: {} }, 'rls.settings is an object'],
    [{ role: 'app_user', settings, setings: settings }, 'The option rls has no member "setings"'],
  ])('%o is refused when the program is loaded', (rls, message) => {
    expect(() => checkedRowLevelSecurity(rls)).toThrow(TypeError);
    expect(() => hostOf({ schema, functions: {}, rls: rls as never })).toThrow(message);
  });
});
