import { describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { convoyOf, ScriptedEngine } from '../../testing/scripted-engine.js';
import { makeActionRef, makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { defineSchema, defineTable } from '../schema/index.js';
import { ConvoyError, isConvoyError } from '../values/errors.js';
import { openConvoy } from './convoy.js';
import { internalAction, mutation, query } from './functions.js';

const schema = defineSchema({ notes: defineTable({ text: z.string() }).index('by_text', ['text']) });
const functions = {
  notes: {
    echo: query({ input: { text: z.string() }, handler: (_ctx, { text }) => ({ text }) }),
    post: internalAction({ input: { to: z.string() }, handler: async (_ctx, { to }) => `sent to ${to}` }),
    who: query({ handler: (ctx) => (ctx as unknown as { user?: string }).user ?? 'anonymous' }),
    fail: mutation({
      handler: () => {
        throw new ConvoyError('CONFLICT', 'taken', { details: { by: 'ada' } });
      },
    }),
  },
};
const echo = makeQueryRef<{ text: string }, { text: string }>('notes.echo');
const who = makeQueryRef<Record<string, never>, string>('notes.who');
const post = makeActionRef<{ to: string }, string>('notes.post');
const fail = makeMutationRef<Record<string, never>, null>('notes.fail');

const common = { schema, databaseUrl: 'postgres://scripted' };

describe('createConvoy', () => {
  it('opens the engine with its options and loads the program', async () => {
    const engine = new ScriptedEngine();
    await convoyOf(engine, { schema, functions });
    expect(engine.opened).toEqual([{ databaseUrl: 'postgres://scripted' }]);
    expect(engine.loads.map(({ description }) => description)).toEqual([
      {
        schema: {
          tables: [
            {
              name: 'notes',
              physicalName: 'notes',
              managed: true,
              indexes: [{ name: 'by_text', unique: false, fields: [{ path: 'text', kind: 'text' }] }],
            },
          ],
        },
        functions: [
          { name: 'notes.echo', kind: 'query', internal: false, share: true, transaction: true },
          { name: 'notes.fail', kind: 'mutation', internal: false, share: true, transaction: true },
          { name: 'notes.post', kind: 'action', internal: true, share: true, transaction: true },
          { name: 'notes.who', kind: 'query', internal: false, share: true, transaction: true },
          { name: 'convoy: stored documents', kind: 'action', internal: true, share: true, transaction: true },
          { name: 'convoy: write defaults', kind: 'mutation', internal: true, share: true, transaction: true },
          { name: 'convoy: OpenAPI document', kind: 'query', internal: true, share: false, transaction: true },
        ],
        hasContext: false,
        routes: [],
        sync: true,
      },
    ]);
  });

  it('gives the engine its telemetry, unless it only serves calls of this process', async () => {
    const engine = new ScriptedEngine();
    const options = { ...common, functions, telemetry: { prometheus: 9464 } };
    await openConvoy(engine, options);
    await openConvoy(engine, options, { onlyLocal: true });
    const prometheus = { host: '127.0.0.1', port: 9464 };
    expect(engine.opened).toEqual([
      { databaseUrl: 'postgres://scripted', telemetry: { prometheus } },
      { databaseUrl: 'postgres://scripted' },
    ]);
    await expect(openConvoy(engine, { ...options, telemetry: { sampleRatio: 2 } })).rejects.toThrow(
      'telemetry.sampleRatio is not a number from 0 to 1.',
    );
  });

  it('sets the form of the log by the option, or else by the environment', async () => {
    const formatOf = async (options: object, onlyLocal = false) => {
      const engine = new ScriptedEngine();
      await openConvoy(engine, { ...common, functions, ...options }, { onlyLocal });
      return engine.logFormat;
    };
    expect(await formatOf({})).toBe('pretty');
    expect(await formatOf({ logFormat: 'json' })).toBe('json');
    expect(await formatOf({ logFormat: 'json' }, true)).toBe('pretty');
    vi.stubEnv('CONVOY_LOG_FORMAT', 'json');
    expect(await formatOf({})).toBe('json');
    expect(await formatOf({ logFormat: 'pretty' })).toBe('pretty');
    vi.stubEnv('CONVOY_LOG_FORMAT', 'xml');
    await expect(formatOf({})).rejects.toThrow('CONVOY_LOG_FORMAT is "xml": give pretty or json.');
    vi.unstubAllEnvs();
  });

  it('calls functions and resolves to their results', async () => {
    const convoy = await convoyOf(new ScriptedEngine(), { schema, functions });
    expect(await convoy.query(echo, { text: 'hi' })).toEqual({ text: 'hi' });
  });

  it('runs actions, also internal ones', async () => {
    const convoy = await convoyOf(new ScriptedEngine(), { schema, functions });
    expect(await convoy.action(post, { to: 'ada' })).toBe('sent to ada');
  });

  it('warns in development about queries that read the clock, and restores the clock when it closes', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const { now } = Date;
    const clock = query({ handler: (ctx) => [Date.now(), ctx.now(500)] });
    const convoy = await openConvoy(new ScriptedEngine(), { ...common, functions: { clock }, dev: true });
    for (let n = 0; n < 2; n++) await convoy.query(makeQueryRef('clock'), {});
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/query clock calls Date\.now\(\).*ctx\.now/)]]);
    await convoy.close();
    expect(Date.now).toBe(now);

    const quiet = await openConvoy(new ScriptedEngine(), { ...common, functions: { clock } });
    await quiet.query(makeQueryRef('clock'), {});
    expect(warn).toHaveBeenCalledTimes(1);
    expect(Date.now).toBe(now);
    warn.mockRestore();
  });

  it('throws the error of a call as a ConvoyError', async () => {
    const convoy = await convoyOf(new ScriptedEngine(), { schema, functions });
    const error: unknown = await convoy.mutation(fail, {}).catch((thrown: unknown) => thrown);
    expect(isConvoyError(error)).toBe(true);
    expect(error).toMatchObject({ code: 'CONFLICT', message: 'taken', details: { by: 'ada' }, status: 409 });
    await expect(convoy.query(makeQueryRef('notes.nope'), {})).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(convoy.query(echo, { text: 1n as never })).rejects.toMatchObject({ code: 'INVALID_ARGS' });
  });

  it('uses a given context only for that call', async () => {
    const convoy = await convoyOf(new ScriptedEngine(), { schema, functions });
    const answers = await Promise.all([convoy.query(who, {}, { context: { user: 'ada' } }), convoy.query(who, {})]);
    expect(answers).toEqual(['ada', 'anonymous']);
  });

  it('replaces the program, and keeps the old one if loading fails', async () => {
    const engine = new ScriptedEngine();
    const convoy = await convoyOf(engine, { schema, functions });
    engine.report = { tables: { notes: { holdsWrites: true } }, created: ['table notes'], warnings: [], leftOver: [] };
    const next = { notes: { echo: query({ handler: () => ({ text: 'new code' }) }) } };
    expect(await convoy.load({ schema, functions: next })).toMatchObject({ created: ['table notes'] });
    expect(await convoy.query(echo, { text: 'hi' })).toEqual({ text: 'new code' });

    vi.spyOn(engine, 'load').mockRejectedValueOnce(new Error('{"code":"UNAVAILABLE","message":"database away"}'));
    await expect(convoy.load({ schema, functions })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: 'database away',
    });
    expect(await convoy.query(echo, { text: 'hi' })).toEqual({ text: 'new code' });
    expect(convoy.loaded.created).toEqual(['table notes']);
  });

  it('holds inserts into the tables named by the load report', async () => {
    const engine = new ScriptedEngine();
    engine.report = { tables: { notes: { holdsWrites: true } }, created: [], warnings: [], leftOver: [] };
    const add = mutation({ handler: (ctx) => ctx.db.insert('notes', { text: 'x' }) });
    const convoy = await convoyOf(engine, { schema, functions: { add } });
    await convoy.mutation(makeMutationRef('add'), {});
    expect(engine.batches).toEqual([]);
    expect(engine.responses[0]?.held).toHaveLength(1);
  });

  it('listens, returns its address, and closes', async () => {
    const engine = new ScriptedEngine();
    const convoy = await convoyOf(engine, { schema, functions });
    expect(convoy.address).toBeNull();
    expect(await convoy.listen({ port: 0 })).toEqual({ host: '127.0.0.1', port: 4321 });
    expect(convoy.address).toEqual({ host: '127.0.0.1', port: 4321 });
    await convoy.close();
    expect(engine.closed).toBe(1);
  });

  it('rejects invalid functions and security schemes before it opens the engine, and closes the engine if loading fails', async () => {
    const early = new ScriptedEngine();
    await expect(convoyOf(early, { schema, functions: { 'a.b': functions.notes.echo } })).rejects.toThrow(/dot/);
    const securitySchemes = { key: { type: 'basic' } } as never;
    await expect(convoyOf(early, { schema, functions, securitySchemes })).rejects.toThrow(/mistake at key\.type/);
    expect(early.opened).toEqual([]);
    const late = new ScriptedEngine();
    vi.spyOn(late, 'load').mockRejectedValueOnce(new Error('{"code":"UNAVAILABLE","message":"away"}'));
    await expect(convoyOf(late, { schema, functions })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(late.closed).toBe(1);
  });
});
