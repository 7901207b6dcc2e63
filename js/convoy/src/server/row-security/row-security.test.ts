import { afterEach, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import {
  convoyOf,
  type HostUnderTest,
  hostOf,
  type Response,
  type Script,
  ScriptedEngine,
  uuid,
} from '../../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../../schema/index.js';
import { sql } from '../../sql/index.js';
import { type Auth, type AuthUser, createAuth } from '../auth.js';
import { BACKFILL_NAME } from '../backfill.js';
import { cachedReads } from '../cached-reads.js';
import type { Operation } from '../call.js';
import type { BaseContext } from '../contexts.js';
import { DEV_QUERY_NAME } from '../dev-query.js';
import { action, internalMutation, internalQuery, mutation, query, route } from '../functions.js';
import { describeProgram, type ProgramSource } from '../program.js';
import { CHECK_NAME } from '../stored-documents.js';
import type { RowLevelSecurity } from './row-level-security.js';

const unhandled = vi.fn();
process.on('unhandledRejection', unhandled);
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).not.toHaveBeenCalled();
});

const ID = `notes:${uuid(0xa)}` as never;
const STORED = { id: ID, _creationTime: 5, owner: 'ada', n: 1 };
const schema = defineSchema({ notes: defineTable({ owner: z.string(), n: z.number().default(0) }) });

interface Context extends BaseContext {
  readonly auth: Auth;
}
type Handler = (ctx: Context) => unknown;

const ADA: AuthUser = { id: 'ada', roles: ['admin'] };
const REQUEST = JSON.stringify({ method: 'POST', url: '/api', headers: { authorization: 'ada' } });
const TRUSTED = JSON.stringify({ headers: {}, trusted: true });
const rls: RowLevelSecurity<Context> = {
  role: 'app_user',
  settings: (ctx) => ({ 'app.user': ctx.auth.user?.id }),
};

const stored: Script = (op) => {
  if (op.op === 'get') return { ok: structuredClone(STORED) };
  if (op.op === 'scan' || op.op === 'raw') return { ok: [] };
  if (op.op === 'count') return { ok: 0 };
  if (op.op === 'page') return { ok: { page: [], isDone: true, continueCursor: 'end', cursors: ['start'] } };
  if (op.op === 'delete') return { ok: true };
  return { ok: op.op === 'patch' || op.op === 'replace' || op.op === 'increment' ? { ...STORED } : null };
};

function loaded(source: Partial<ProgramSource> = {}, script: Script = stored): HostUnderTest {
  const createContext = ({ headers }: { headers: { authorization?: string } }, base: object) => ({
    ...base,
    auth: createAuth(headers.authorization === 'ada' ? ADA : null),
  });
  const whole = { schema, createContext: createContext as never, rls, functions: {}, ...source };
  return hostOf(whole, script, { dev: true });
}

interface Settings extends Partial<ProgramSource> {
  readonly kind?: 'query' | 'mutation' | 'action' | 'apart';
  readonly request?: string | null;
  readonly script?: Script;
}

/** Runs a handler, as a client where nothing else is said. */
async function run(
  handler: Handler,
  { kind = 'mutation', request = REQUEST, script, functions, ...source }: Settings = {},
): Promise<Response & { readonly ops: Operation[] }> {
  const fn = {
    query: () => query({ handler: handler as never }),
    mutation: () => mutation({ handler: handler as never }),
    action: () => action({ handler: handler as never }),
    apart: () => mutation({ handler: handler as never, transaction: false }),
  }[kind]();
  const host = loaded({ ...source, functions: { ...functions, fn } }, script);
  const response = await host.call('fn', {}, request);
  return { ...response, ops: host.engine.ops };
}

/** The names of operations with their role: `get client`, `begin`. */
const roles = (ops: readonly Operation[]): string[] =>
  ops.map((op) => {
    const { settings, system } = op as { settings?: object; system?: true };
    return [op.op, settings && 'client', system && 'system'].filter(Boolean).join(' ');
  });

const everything: Handler = async ({ db }) => {
  await db.get(ID);
  await db.query('notes').collect();
  await db.query('notes').count();
  await db.query('notes').paginate({ cursor: null, numItems: 1 });
  await db.insert('notes', { owner: 'ada' });
  await db.patch(ID, { n: 2 });
  await db.replace(ID, { owner: 'ada' });
  await db.increment(ID, 'n', 1);
  await db.delete(ID);
  await db.raw(sql`select 1`);
};
const NAMES = ['get', 'scan', 'count', 'page', 'insert', 'patch', 'replace', 'increment', 'delete', 'raw'];

describe('every operation of a client', () => {
  it('runs under the role, with the settings of the caller', async () => {
    const { ok, ops } = await run(everything);
    expect({ ok, names: ops.map(({ op }) => op) }).toEqual({ ok: true, names: NAMES });
    for (const op of ops) {
      expect(op).toMatchObject({ settings: { 'app.user': 'ada' } });
      expect(op).not.toHaveProperty('system');
    }
  });

  it('also of an anonymous one, and without createContext', async () => {
    const anonymous = JSON.stringify({ headers: {} });
    const { ops } = await run(everything, { request: anonymous });
    expect(ops).toHaveLength(NAMES.length);
    for (const op of ops) expect(op).toMatchObject({ settings: { 'app.user': '' } });
    const source = { createContext: undefined, rls: { role: 'app_user', settings: () => ({}) } };
    for (const op of (await run(everything, source)).ops) expect(op).toMatchObject({ settings: {} });
  });

  it('but for the control of transactions', async () => {
    const inTransaction: Handler = ({ db }) =>
      db.transaction(async (tx) => {
        await tx.delete(ID);
        await db.transaction(() => db.delete(ID).then(() => Promise.reject(new Error('no')))).catch(() => {});
      });
    const expected = ['begin', 'delete client', 'savepoint', 'delete client', 'rollback', 'commit'];
    for (const kind of ['action', 'apart'] as const) {
      expect(roles((await run(inTransaction, { kind })).ops)).toEqual(expected);
    }
    expect(roles((await run(inTransaction)).ops)).toEqual(['savepoint', ...expected.slice(1, -1)]);
  });

  it('in functions that it calls, joined and separate ones', async () => {
    const functions = {
      find: internalQuery({ handler: (ctx) => ctx.db.get(ID) }),
      change: internalMutation({ handler: (ctx) => ctx.db.patch(ID, { n: 2 }) }),
    };
    const handler: Handler = async (ctx) => {
      await ctx.runQuery(functions.find as never, {} as never);
      await ctx.runMutation(functions.change as never, {} as never);
    };
    const joined = await run(handler, { functions });
    expect(roles(joined.ops)).toEqual(['get client', 'savepoint', 'patch client']);
    const separate = await run(handler, { functions, kind: 'action' });
    expect(roles(separate.ops)).toEqual(['get client', 'get client', 'patch client']);
    for (const op of separate.ops) expect(op).toMatchObject({ settings: { 'app.user': 'ada' } });
    expect(roles((await run(handler, { functions, request: null })).ops)).not.toContain('get client');
  });

  it('in functions that a route calls', async () => {
    const find = internalQuery({ handler: (ctx) => ctx.db.get(ID) });
    const hook = route.post('/hook', async (ctx) => Response.json(await ctx.runQuery(find as never, {} as never)));
    const host = loaded({ functions: { find }, routes: { hook } });
    const input = { method: 'POST', url: 'http://localhost/hook', headers: [], params: {}, hasBody: false };
    await host.engine.runRoute(0, input, { headers: { authorization: 'ada' } });
    expect(host.engine.ops).toEqual([expect.objectContaining({ op: 'get', settings: { 'app.user': 'ada' } })]);
  });

  it('of a table with access rules, whose own reads run as the system', async () => {
    const read = async (ctx: Context) => (await ctx.db.query('notes').count()) === 0;
    const ruled = defineSchema({ notes: defineTable({ owner: z.string() }).access({ read }) });
    expect(roles((await run(({ db }) => db.get(ID), { schema: ruled })).ops)).toEqual(['get client', 'count system']);
  });
});

describe('as the system run', () => {
  const asSystem = NAMES.map((name) => `${name} system`);

  it('trusted calls without a context', async () => {
    for (const request of [null, TRUSTED]) {
      const { ops } = await run(everything, { request });
      expect(roles(ops)).toEqual(asSystem);
    }
  });

  it('ctx.db.system', async () => {
    const { ops } = await run(async (ctx) => {
      await everything({ ...ctx, db: ctx.db.system });
      await ctx.db.transaction((tx) => tx.system.get(ID));
    });
    expect(roles(ops)).toEqual([...asSystem, 'get system']);
  });

  it('the reads of createContext, and functions that it calls', async () => {
    const find = internalQuery({ handler: (ctx) => ctx.db.get(ID) });
    const createContext = async (_: object, base: BaseContext) => {
      await base.db.get(ID);
      await cachedReads(base).get(ID);
      await base.runQuery(find as never, {} as never);
      return { ...base, auth: createAuth(ADA), find: () => base.db.get(ID) };
    };
    const source = { createContext: createContext as never, functions: { find } };
    const { ops } = await run(async (ctx) => {
      await (ctx as unknown as { find(): Promise<unknown> }).find();
      await ctx.db.get(ID);
    }, source);
    expect(roles(ops)).toEqual(['get system', 'get system', 'get system', 'get system', 'get client']);
    expect(ops[1]).toMatchObject({ cached: expect.any(String) });
  });

  it('the internal functions of Convoy', async () => {
    const script: Script = (op) =>
      op.op === 'raw' ? { ok: [{ id: uuid(1), data: {}, ids: [], rows: '0' }] } : stored(op);
    const host = loaded({}, script);
    const { request } = host.host.registerContext({});
    await host.call(BACKFILL_NAME, { table: 'notes', after: null, limit: 10 }, request);
    await host.call(CHECK_NAME, { table: 'notes' }, request);
    await host.call(DEV_QUERY_NAME, { latestOf: 'notes' }, request);
    expect(host.engine.ops.length).toBeGreaterThan(3);
    expect(roles(host.engine.ops).filter((each) => !each.endsWith(' system'))).toEqual([]);
  });

  it('no calls with a context of their own', async () => {
    const host = loaded({ functions: { fn: query({ handler: (ctx) => ctx.db.get(ID) }) } });
    const { request } = host.host.registerContext({ auth: createAuth({ id: 'u7' }) });
    await host.call('fn', {}, request);
    const given = JSON.stringify({ context: {}, auth: { user: { id: 'u8' } } });
    await host.call('fn', {}, given);
    expect(host.engine.ops).toMatchObject([{ settings: { 'app.user': 'u7' } }, { settings: { 'app.user': 'u8' } }]);
  });
});

describe('a program without row-level security', () => {
  it('sends operations without a role', async () => {
    for (const request of [REQUEST, null]) {
      const { ops } = await run(everything, { rls: undefined, request });
      expect(roles(ops)).toEqual(NAMES);
      expect(JSON.stringify(ops)).not.toMatch(/"(settings|system)":/);
    }
  });

  it('describes no role', () => {
    const described = (source: Partial<ProgramSource>) =>
      JSON.parse(describeProgram({ schema, functions: {}, ...source }, { sync: true })) as object;
    expect(described({})).not.toHaveProperty('rls');
    expect(described({ rls })).toMatchObject({ rls: { role: 'app_user' }, hasContext: true });
  });
});

describe('held inserts', () => {
  const add = mutation({ handler: (ctx) => ctx.db.insert('notes', { owner: 'ada' }) });

  it.each([
    ['none', rls, 1],
    ['those of the engine without row-level security', undefined, 0],
  ])('are %s', async (_, given, sent) => {
    const engine = new ScriptedEngine(stored);
    engine.report = { tables: { notes: { holdsWrites: true } }, created: [], warnings: [], leftOver: [] };
    const convoy = await convoyOf(engine, {
      schema,
      functions: { add },
      rls: given && { ...given, settings: () => ({}) },
    });
    await convoy.mutation({ kind: 'mutation', name: 'add' } as never, {} as never);
    expect(engine.ops).toHaveLength(sent);
  });
});

describe('a document that the system has read', () => {
  const hidden: Script = (op) =>
    'settings' in op && op.settings !== undefined && op.op !== 'insert' ? { ok: null } : stored(op);

  it('is not what a patch of the caller is checked against', async () => {
    const { body, ops } = await run(
      async ({ db }) => {
        await db.system.get(ID);
        return [
          await db.patch(ID, { owner: 7 } as never),
          await db.replace(ID, { owner: 'x', _creationTime: 1 } as never),
        ];
      },
      { script: hidden },
    );
    // With the document of the system, both would be INVALID_ARGS.
    expect(body).toEqual([null, null]);
    expect(roles(ops)).toEqual(['get system', 'get client', 'get client']);
  });

  it('is read once for writes of the system, and that of the caller once for writes of the caller', async () => {
    const { ops } = await run(async ({ db }) => {
      await db.system.get(ID);
      await db.system.patch(ID, { n: 2 });
      await db.patch(ID, { n: 3 });
      await db.patch(ID, { n: 4 });
      await db.system.patch(ID, { n: 5 });
    });
    expect(roles(ops)).toEqual([
      'get system',
      'patch system',
      'get client',
      'patch client',
      'patch client',
      // The writes of the caller have changed it.
      'get system',
      'patch system',
    ]);
  });
});
