import { afterEach, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { hostOf, type Script, uuid } from '../../testing/scripted-engine.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { defineSchema, defineTable } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import type { Id } from '../values/ids.js';
import type { BaseContext, CalleeOf, CreateContext } from './contexts.js';
import { MIN_REFRESH_MS } from './function-calls.js';
import {
  action,
  createFunctionHelpers,
  internalAction,
  internalMutation,
  internalQuery,
  mutation,
  query,
} from './functions.js';

const schema = defineSchema({ notes: defineTable({ text: z.string() }) });
const NOTE = `notes:${uuid(1)}` as Id<'notes'>;
const stored = { id: NOTE, _creationTime: 1, text: 'stored' };

/** The results of an engine with one note. */
const oneNote: Script = ({ op }) => ({ ok: op === 'get' || op === 'patch' ? stored : op === 'scan' ? [stored] : null });

const read = internalQuery({ input: { id: z.string() }, handler: (ctx, { id }) => ctx.db.get(id as Id<'notes'>) });
const add = internalMutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) });
const addAndThrow = internalMutation({
  handler: async (ctx) => {
    await ctx.db.insert('notes', { text: 'undone' });
    throw new ConvoyError('FORBIDDEN', 'not today');
  },
});

// An unhandled rejection would fail the test run; this also fails the test that caused it.
const unhandled = vi.fn();
process.on('unhandledRejection', unhandled);
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).not.toHaveBeenCalled();
});

describe('a function called within a transaction', () => {
  it('joins the call of its caller, by reference or by value', async () => {
    const both = query({
      handler: async (ctx) => [
        await ctx.runQuery(makeQueryRef<{ id: string }, unknown>('read'), { id: NOTE }),
        await ctx.runQuery(read, { id: NOTE }),
      ],
    });
    const { call, engine } = hostOf({ schema, functions: { both, read } }, oneNote);
    expect((await call('both')).body).toEqual([stored, stored]);
    expect(engine.responses).toHaveLength(1);
    expect(new Set(engine.batches.map(({ callId }) => callId)).size).toBe(1);
  });

  it('shares a batch with concurrent ones in a query', async () => {
    const all = query({
      handler: (ctx) => Promise.all([1, 2, 3].map((n) => ctx.runQuery(read, { id: `notes:${uuid(n)}` }))),
    });
    const { call, engine } = hostOf({ schema, functions: { all, read } }, oneNote);
    await call('all');
    expect(engine.batches.map(({ ops }) => ops.length)).toEqual([3]);
  });

  it('receives and returns values passed through JSON, without shared objects', async () => {
    const list = ['a'];
    const seen: unknown[] = [];
    const inner = query({
      input: { at: z.string(), more: z.any() },
      returns: z.object({
        at: z.codec(z.string(), z.date(), { decode: (s) => new Date(s), encode: (d) => d.toISOString() }),
      }),
      handler: (_ctx, args) => {
        seen.push(args.more);
        return { at: args.at };
      },
    });
    const outer = query({
      handler: async (ctx) => {
        const result: { at: string } = await ctx.runQuery(inner, { at: '2020-01-01T00:00:00.000Z', more: list });
        return [typeof result.at, result.at];
      },
    });
    const { call } = hostOf({ schema, functions: { inner, outer } });
    expect((await call('outer')).body).toEqual(['string', '2020-01-01T00:00:00.000Z']);
    expect(seen).toEqual([list]);
    expect(seen[0]).not.toBe(list);
  });

  it('has its arguments and its result validated', async () => {
    const wrong = internalQuery({ handler: () => new Map() });
    const outer = query({
      input: { which: z.enum(['args', 'json', 'result']) },
      handler: async (ctx, { which }) => {
        if (which === 'args') await ctx.runQuery(read, { id: 5 } as never);
        if (which === 'json') await ctx.runQuery(read, { id: 5n } as never);
        return ctx.runQuery(wrong);
      },
    });
    const { call } = hostOf({ schema, functions: { outer, read, wrong } });
    expect((await call('outer', { which: 'args' })).body).toMatchObject({ code: 'INVALID_ARGS' });
    expect((await call('outer', { which: 'json' })).body).toMatchObject({ code: 'INVALID_ARGS' });
    expect((await call('outer', { which: 'result' })).body).toMatchObject({
      thrown: { message: expect.stringMatching(/^wrong: .*Map/) },
    });
  });

  it('is rolled back if it throws, and the caller may continue', async () => {
    const outer = mutation({
      handler: async (ctx) => {
        await ctx.runMutation(add, { text: 'kept' });
        const refused = await ctx.runMutation(addAndThrow).catch((error: ConvoyError) => error.code);
        await ctx.runMutation(add, { text: 'also kept' });
        return refused;
      },
    });
    const { call, engine } = hostOf({ schema, functions: { outer, add, addAndThrow } }, oneNote);
    expect(await call('outer')).toMatchObject({ ok: true, body: 'FORBIDDEN' });
    expect(engine.ops.map((op) => (op.op === 'insert' ? (op.doc as { text: string }).text : op.op))).toEqual([
      'savepoint',
      'kept',
      'savepoint',
      'undone',
      'rollback',
      'savepoint',
      'also kept',
    ]);
    expect(engine.ops[4]).toMatchObject({ to: (engine.ops[2] as { name: number }).name });
  });

  it('fails its caller if its failure is not handled', async () => {
    const outer = mutation({
      handler: async (ctx) => {
        void ctx.runMutation(addAndThrow);
        for (let n = 0; n < 5; n++) await ctx.db.get(NOTE);
      },
    });
    const { call } = hostOf({ schema, functions: { outer, addAndThrow } }, oneNote);
    expect(await call('outer')).toMatchObject({ ok: false, body: { code: 'FORBIDDEN' } });
  });

  it('cannot write from a query that a mutation runs', async () => {
    const sneaky = internalQuery({ handler: (ctx) => (ctx.db as BaseContext['db']).insert('notes', { text: 'x' }) });
    const outer = mutation({ handler: (ctx) => ctx.runQuery(sneaky) });
    const { call, engine } = hostOf({ schema, functions: { outer, sneaky } });
    expect((await call('outer')).body).toMatchObject({
      thrown: { message: expect.stringMatching(/a query only reads/) },
    });
    expect(engine.ops).toEqual([]);
  });

  it('receives the context of its caller, created once, with its own base', async () => {
    interface Ctx extends BaseContext {
      readonly user: string;
      note(): Promise<unknown>;
    }
    const typed = createFunctionHelpers<Ctx>();
    const inner = typed.internalMutation({
      handler: async (ctx) => [ctx.user, await ctx.note(), await ctx.runQuery(who)],
    });
    const who = typed.internalQuery({ handler: (ctx) => ctx.user });
    const outer = typed.mutation({
      handler: async (ctx) => Promise.all([ctx.runMutation(inner), ctx.runQuery(who), ctx.runMutation(inner)]),
    });
    const createContext = vi.fn<CreateContext>((_req, base) => ({
      ...base,
      user: 'ada',
      note: () => base.db.get(NOTE),
    }));
    const { call } = hostOf({ schema, functions: { inner, outer, who }, createContext }, oneNote);
    const result = ['ada', stored, 'ada'];
    expect((await call('outer')).body).toEqual([result, 'ada', result]);
    expect(createContext).toHaveBeenCalledTimes(1);
  });

  it.each<[string, typeof query | typeof action]>([
    ['as a joined run', query],
    ['as a separate call', action],
  ])('may be called %s by createContext, before there is a context', async (_, of) => {
    const createContext = vi.fn<CreateContext>(async (_req, base) => {
      return { ...base, note: await base.runQuery(read, { id: NOTE }) };
    });
    const outer = of({ handler: (ctx: object) => (ctx as { note: unknown }).note });
    const { call } = hostOf({ schema, functions: { outer, read }, createContext }, oneNote);
    expect((await call('outer')).body).toEqual(stored);
    expect(createContext).toHaveBeenCalledTimes(1);
  });

  it('cannot use its context after it has returned', async () => {
    const leaked: BaseContext[] = [];
    const leak = (ctx: object) => {
      leaked.push(ctx as BaseContext);
    };
    const q = internalQuery({ handler: leak });
    const m = internalMutation({ handler: leak });
    const after = async (): Promise<unknown> =>
      Promise.all(
        leaked.flatMap(({ db, runQuery }) =>
          [db.get(NOTE), runQuery(read, { id: NOTE })].map((late) => late.catch((error: Error) => error.message)),
        ),
      );
    const run = async (ctx: Pick<BaseContext, 'runQuery'>) => [await ctx.runQuery(q), await after()].at(-1);
    const inQuery = query({ handler: run });
    const inMutation = mutation({ handler: async (ctx) => [await ctx.runMutation(m), await run(ctx)].at(-1) });
    const { call, engine } = hostOf({ schema, functions: { inQuery, inMutation, q, m, read } });
    for (const [name, contexts] of [
      ['inQuery', 1],
      ['inMutation', 3],
    ] as const) {
      const { body } = await call(name);
      expect(body).toHaveLength(contexts * 2);
      for (const message of body as string[]) expect(message).toMatch(/had ended|had returned/);
    }
    expect(engine.ops).toEqual([]);
  });
});

describe('a function called outside of a transaction', () => {
  const publish = action({
    handler: async (ctx) => {
      const id = await ctx.runMutation(makeMutationRef<{ text: string }, string>('add'), { text: 'hello' });
      return [id, await ctx.runQuery(read, { id }), await ctx.runAction(post, { id })];
    },
  });
  const post = internalAction({ input: { id: z.string() }, handler: async (_ctx, { id }) => `posted ${id}` });

  it('is a separate call', async () => {
    const { call, engine } = hostOf({ schema, functions: { publish, add, read, post } }, oneNote);
    expect((await call('publish')).body).toEqual([NOTE, stored, `posted ${NOTE}`]);
    expect(engine.responses.map(({ callId }) => callId)).toEqual([2, 3, 4, 1]);
  });

  it('joins the open transaction of ctx.db.transaction', async () => {
    const outer = action({
      handler: (ctx) =>
        ctx.db.transaction(async () => {
          await ctx.runMutation(add, { text: 'one' });
          return ctx.runQuery(read, { id: NOTE });
        }),
    });
    const { call, engine } = hostOf({ schema, functions: { outer, add, read } }, oneNote);
    expect((await call('outer')).body).toEqual(stored);
    expect(engine.responses).toHaveLength(1);
    expect(engine.ops.map(({ op }) => op)).toEqual(['begin', 'savepoint', 'insert', 'get', 'commit']);
  });

  it('receives the context of its caller', async () => {
    interface Ctx extends BaseContext {
      readonly user: string;
    }
    const typed = createFunctionHelpers<Ctx>();
    const who = typed.internalQuery({ handler: (ctx) => ctx.user });
    const outer = typed.mutation({ transaction: false, handler: (ctx) => ctx.runQuery(who) });
    const createContext = vi.fn<CreateContext>((_req, base) => ({ ...base, user: 'ada' }));
    const { call } = hostOf({ schema, functions: { outer, who }, createContext });
    expect((await call('outer')).body).toBe('ada');
    expect(createContext).toHaveBeenCalledTimes(1);
  });

  it('fails as a joined run does: with a full ConvoyError, or an Error whose message stays on the server', async () => {
    const broken = internalMutation({
      handler: () => {
        throw new Error('secret');
      },
    });
    const outer = action({
      input: { which: z.enum(['refused', 'broken']) },
      handler: (ctx, { which }) => ctx.runMutation(which === 'refused' ? addAndThrow : broken),
    });
    const { call } = hostOf({ schema, functions: { outer, addAndThrow, broken } });
    expect((await call('outer', { which: 'refused' })).body).toMatchObject({ code: 'FORBIDDEN', message: 'not today' });
    expect((await call('outer', { which: 'broken' })).body).toMatchObject({
      thrown: { message: expect.stringMatching(/^broken failed: /) },
    });
  });

  it('that is not awaited completes before its caller ends, and its failure fails the caller', async () => {
    const outer = action({
      input: { fail: z.boolean() },
      handler: (ctx, { fail }) => {
        void (fail ? ctx.runMutation(addAndThrow) : ctx.runMutation(add, { text: 'late' }));
        return 'done';
      },
    });
    const { call, engine } = hostOf({ schema, functions: { outer, add, addAndThrow } }, oneNote);
    expect((await call('outer', { fail: false })).body).toBe('done');
    expect(engine.responses.map(({ callId }) => callId)).toEqual([2, 1]);
    expect((await call('outer', { fail: true })).body).toMatchObject({ code: 'FORBIDDEN' });
  });

  it('continues when the engine abandons its caller', async () => {
    const seen: unknown[] = [];
    const outer = action({
      handler: async (ctx) => {
        await ctx.runMutation(add, { text: 'x' }).catch((error: unknown) => seen.push(error));
        await ctx.runMutation(add, { text: 'y' }).catch((error: unknown) => seen.push(error));
        await ctx.db.get(NOTE).catch((error: unknown) => seen.push(error));
      },
    });
    const { engine, indexOf } = hostOf({ schema, functions: { outer, add } }, null);
    const callId = engine.start(indexOf('outer'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(engine.batches).toMatchObject([{ callId: callId + 1 }]);
    engine.abandon(callId, { code: 'TIMEOUT', message: 'took too long' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(seen).toEqual(Array(3).fill(expect.objectContaining({ code: 'TIMEOUT', message: 'took too long' })));
    engine.answer(callId + 1, 0, [{ error: { code: 'CONFLICT', message: 'ignored' } }]);
    await new Promise((resolve) => setImmediate(resolve));
    expect(engine.responses).toMatchObject([{ callId: callId + 1, ok: false }]);
  });
});

describe('a forbidden call', () => {
  /** A reference of the given kind, which may differ from that of the named function. */
  const anyRef = <Kind extends 'query' | 'mutation' | 'action'>(kind: Kind, name: string) =>
    ({ kind, name }) as CalleeOf<Kind>;
  const full = (ctx: object) => ctx as BaseContext;
  const unexported = mutation({ handler: () => null });
  const functions = {
    add,
    read,
    post: action({ handler: () => 'posted' }),
    writes: query({ handler: (ctx) => full(ctx).runMutation(add, { text: 'x' }) }),
    acts: query({ handler: (ctx) => full(ctx).runAction(anyRef('action', 'post')) }),
    mutates: mutation({ handler: (ctx) => full(ctx).runAction(anyRef('action', 'post')) }),
    loose: mutation({ transaction: false, handler: (ctx) => full(ctx).runAction(anyRef('action', 'post')) }),
    inside: action({ handler: (ctx) => ctx.db.transaction(() => ctx.runAction(anyRef('action', 'post'))) }),
    unknown: mutation({ handler: (ctx) => ctx.runMutation(anyRef('mutation', 'no.such')) }),
    foreign: mutation({ handler: (ctx) => ctx.runMutation(unexported) }),
    missing: mutation({ handler: (ctx) => ctx.runMutation(undefined as unknown as typeof unexported) }),
    wrong: mutation({ handler: (ctx) => ctx.runMutation(anyRef('mutation', 'read')) }),
    stale: mutation({ handler: (ctx) => ctx.runQuery(anyRef('query', 'add')) }),
  };

  it.each([
    ['writes', /ctx\.runMutation in writes: a query only reads/],
    ['acts', /ctx\.runAction in acts: a query may run more than once/],
    ['mutates', /ctx\.runAction in mutates: a mutation may run more than once/],
    ['loose', /a mutation may run more than once/],
    ['inside', /a transaction may run more than once/],
    ['unknown', /ctx\.runMutation: there is no function no\.such/],
    ['foreign', /a mutation that is not in this program/],
    ['missing', /takes a reference, such as/],
    ['wrong', /read is a query; use ctx\.runQuery/],
    ['stale', /add is a mutation; use ctx\.runMutation/],
  ])('is rejected with a message for the developer: %s', async (name, message) => {
    const { call, engine } = hostOf({ schema, functions });
    expect((await call(name)).body).toMatchObject({ thrown: { message: expect.stringMatching(message) } });
    expect(engine.responses).toHaveLength(1);
  });

  it('is nested deeper than 32 levels', async () => {
    const deep = query({
      input: { levels: z.number() },
      handler: (ctx, { levels }): unknown =>
        levels === 0 ? 'the last' : ctx.runQuery(anyRef('query', 'deep'), { levels: levels - 1 }),
    });
    const { call } = hostOf({ schema, functions: { deep } });
    expect((await call('deep', { levels: 32 })).body).toBe('the last');
    expect((await call('deep', { levels: 33 })).body).toMatchObject({
      thrown: { message: expect.stringContaining('nested 32 levels deep') },
    });
  });

  it('is a cycle of functions, joined or separate', async () => {
    const here = query({ handler: (ctx): Promise<unknown> => ctx.runQuery(anyRef('query', 'here')) });
    const there = action({ handler: (ctx): Promise<unknown> => ctx.runAction(anyRef('action', 'there')) });
    const { call } = hostOf({ schema, functions: { here, there } });
    expect((await call('here')).body).toMatchObject({
      thrown: { message: 'ctx.runQuery in here: function calls are nested 32 levels deep. Is there a cycle?' },
    });
    // Each caller wraps the failure of its callee, so the outermost message is received.
    expect((await call('there')).body).toMatchObject({ thrown: { message: expect.stringMatching(/^there failed: /) } });
  });
});

describe('ctx.now', () => {
  it('returns the time, and sets the refresh interval of a query', async () => {
    const clock = query({ handler: (ctx) => [ctx.now(), ctx.now(60_000), ctx.now(1_000)].at(-1) });
    const outer = query({ handler: (ctx) => ctx.runQuery(clock) });
    const plain = query({ handler: (ctx) => ctx.now() });
    const stamp = mutation({ handler: (ctx) => ctx.now(1_000) });
    const failing = query({
      handler: (ctx) => {
        throw new ConvoyError('FORBIDDEN', `closed at ${ctx.now(200)}`);
      },
    });
    const { call } = hostOf({ schema, functions: { clock, outer, plain, stamp, failing } });
    const before = Date.now();
    const { body, refreshMs } = await call('clock');
    expect(body).toBeGreaterThanOrEqual(before);
    expect(refreshMs).toBe(1_000);
    expect(await call('outer')).toMatchObject({ ok: true, refreshMs: 1_000 });
    expect(await call('plain')).toMatchObject({ ok: true, refreshMs: null });
    expect(await call('stamp')).toMatchObject({ ok: true, refreshMs: null });
    expect(await call('failing')).toMatchObject({ ok: false, refreshMs: 200 });
  });

  it('takes an interval of the limit', async () => {
    const fn = query({ handler: (ctx) => ctx.now(MIN_REFRESH_MS) });
    const { call } = hostOf({ schema, functions: { fn } });
    expect(await call('fn')).toMatchObject({ ok: true, refreshMs: MIN_REFRESH_MS });
  });

  it.each([[0], [MIN_REFRESH_MS - 1], [Number.NaN], [Number.POSITIVE_INFINITY], ['1000']])(
    'rejects the interval %s',
    async (everyMs) => {
      const fn = query({ handler: (ctx) => ctx.now(everyMs as number) });
      const { call } = hostOf({ schema, functions: { fn } });
      expect((await call('fn')).body).toMatchObject({ thrown: { message: expect.stringMatching(/at least 100/) } });
    },
  );
});
