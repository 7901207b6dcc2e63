import { afterEach, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { type HostUnderTest, hostOf, type Response, type Script, uuid } from '../../testing/scripted-engine.js';
import { defineRef, defineSchema, defineTable } from '../schema/index.js';
import type { Id } from '../values/ids.js';
import type { Operation } from './call.js';
import type { BaseContext } from './contexts.js';
import type { DbFromSchema } from './database.js';
import { createFunctionHelpers } from './functions.js';

const schema = defineSchema({
  channels: defineTable({ name: z.string() }),
  messages: defineTable(
    z
      .object({
        channelId: defineRef('channels'),
        body: z.string().trim().min(1),
        likes: z.number().default(0),
        stars: z.number().optional(),
        meta: z.unknown().optional(),
      })
      .refine((message) => message.likes >= (message.stars ?? 0), { error: 'more stars than likes' }),
  ),
  settings: defineTable(z.strictObject({ theme: z.string() })),
  maps: defineTable(z.looseObject({ byName: z.record(z.string(), z.unknown()), any: z.unknown().optional() })),
});

type Ctx = { readonly db: DbFromSchema<typeof schema> };
const { query, mutation } = createFunctionHelpers<Ctx>();

const CHANNEL = `channels:${uuid(0xc)}` as Id<'channels'>;
const MESSAGE = `messages:${uuid(0xa)}` as Id<'messages'>;
const STORED = { id: MESSAGE, _creationTime: 5, channelId: CHANNEL, body: 'hello', legacy: 'kept', stars: 1, likes: 2 };

const unhandled = vi.fn();
process.on('unhandledRejection', unhandled);
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).not.toHaveBeenCalled();
});

/** Runs `handler` as a mutation over an engine with the results of `script`. */
function mutate(handler: (ctx: Ctx) => unknown, script?: Script): Promise<Response> & { under: HostUnderTest } {
  const under = hostOf({ schema, functions: { fn: mutation({ handler }) } }, script);
  return Object.assign(under.call('fn'), { under });
}

const stored: Script = (op) => {
  if (op.op === 'get') return { ok: op.table === 'messages' ? STORED : null };
  if (op.op === 'patch') return { ok: { ...STORED, ...op.set } };
  return { ok: op.op === 'delete' ? true : null };
};

describe('operations', () => {
  it('issued in one microtask share a batch, and each gets its own result', async () => {
    const script: Script = (op) =>
      op.op === 'get' && op.id === uuid(2) ? { error: { code: 'CONFLICT', message: 'no' } } : { ok: null };
    const run = mutate(async ({ db }) => {
      const ids = [1, 2, 3].map((n) => `channels:${uuid(n)}` as Id<'channels'>);
      const results = await Promise.allSettled(ids.map((id) => db.get(id)));
      await db.get(CHANNEL);
      return results.map((result) => (result.status === 'rejected' ? result.reason.code : result.value));
    }, script);
    expect((await run).body).toEqual([null, 'CONFLICT', null]);
    expect(run.under.engine.batches.map(({ batch, ops }) => [batch, ops.length])).toEqual([
      [0, 3],
      [1, 1],
    ]);
  });

  it('that are not awaited fail the mutation without ending the process', async () => {
    const rejectAll: Script = () => ({ error: { code: 'CONFLICT', message: 'taken' } });
    const run = mutate(({ db }) => {
      db.insert('channels', { name: 'a' });
      return 'done';
    }, rejectAll);
    expect(await run).toMatchObject({ ok: false, body: { code: 'CONFLICT', message: 'taken' } });
    expect(run.under.engine.responses).toHaveLength(1);
  });

  it('rejected by the engine fail with its error', async () => {
    const full = new Error('{"code":"INTERNAL","message":"too many batches are waiting"}');
    const under = hostOf({ schema, functions: { fn: mutation({ handler: ({ db }) => db.get(CHANNEL) }) } });
    vi.spyOn(under.engine, 'operate').mockImplementation(() => {
      throw full;
    });
    expect((await under.call('fn')).body).toMatchObject({ code: 'INTERNAL', message: 'too many batches are waiting' });
  });

  it('that a mutation did not await complete before it ends', async () => {
    const run = mutate(({ db }) => {
      db.patch(MESSAGE, { body: 'new' });
      return 'done';
    }, stored);
    expect((await run).body).toBe('done');
    expect(run.under.engine.ops.map((op) => op.op)).toEqual(['get', 'patch']);
  });

  it('issued after the function has returned are rejected', async () => {
    let late: Ctx['db'] | undefined;
    const run = mutate(({ db }) => {
      late = db;
    });
    await run;
    await expect(late?.get(CHANNEL)).rejects.toMatchObject({
      message: expect.stringMatching(/after its function had returned/),
    });
    await expect(late?.insert('channels', { name: 'x' })).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(run.under.engine.batches).toEqual([]);
  });

  it('that write are rejected in a query, as is a table that is not in the schema', async () => {
    const fn = query({
      handler: async ({ db }) => {
        const full = db as Ctx['db'];
        const errors = await Promise.allSettled([
          full.insert('channels', { name: 'x' }),
          full.patch(CHANNEL, { name: 'x' }),
          full.delete(CHANNEL),
          full.get('nope:1' as never),
          full.get('constructor' as never, uuid(1) as never),
        ]);
        return errors.map((error) => (error.status === 'rejected' ? error.reason.message : 'fine'));
      },
    });
    const { call, engine } = hostOf({ schema, functions: { fn } });
    expect((await call('fn')).body).toEqual([
      expect.stringMatching(/^ctx\.db\.insert: a query only reads/),
      expect.stringMatching(/^ctx\.db\.patch: a query only reads/),
      expect.stringMatching(/^ctx\.db\.delete: a query only reads/),
      expect.stringMatching(/An id is needed, such as messages:01890c5e-…, not a string that is none/),
      expect.stringMatching(/There is no table 'constructor'; the tables are channels, messages, settings, maps/),
    ]);
    expect(engine.batches).toEqual([]);
  });
});

describe('get', () => {
  it('takes an id, or a table and an id or bare uuid', async () => {
    const run = mutate(async ({ db }) => {
      await Promise.all([
        db.get(CHANNEL),
        db.get('channels', CHANNEL),
        db.get('channels', uuid(7).toUpperCase() as never),
      ]);
    });
    await run;
    expect(run.under.engine.ops).toEqual([
      { op: 'get', table: 'channels', id: uuid(0xc) },
      { op: 'get', table: 'channels', id: uuid(0xc) },
      { op: 'get', table: 'channels', id: uuid(7) },
    ]);
  });

  it('rejects an id of another table, and a value that is not an id', async () => {
    const other = await mutate(({ db }) => db.get('messages', CHANNEL as never));
    expect(other.body).toMatchObject({
      code: 'INVALID_ARGS',
      message: expect.stringMatching(/An id of messages is needed, not one of channels/),
    });
    const none = await mutate(({ db }) => db.get('messages', undefined as never));
    expect(none.body).toMatchObject({ code: 'INVALID_ARGS' });
  });

  it('fills constant defaults', async () => {
    const { likes: _, ...older } = STORED;
    expect(
      (
        await mutate(
          ({ db }) => db.get(MESSAGE),
          () => ({ ok: older }),
        )
      ).body,
    ).toMatchObject({ likes: 0 });
  });
});

describe('insert', () => {
  const message = { channelId: CHANNEL, body: ' hi ', meta: null };

  it('stores the parsed document under an id generated by the engine', async () => {
    const run = mutate(({ db }) => db.insert('messages', { ...message, extra: 1 } as typeof message));
    expect((await run).body).toBe(`messages:${uuid(1)}`);
    expect(run.under.engine.ops).toEqual([
      { op: 'insert', table: 'messages', id: uuid(1), doc: { channelId: CHANNEL, body: 'hi', likes: 0, meta: null } },
    ]);
  });

  it.each<[string, object, unknown[], RegExp]>([
    [
      'a document that does not fit',
      { ...message, body: '  ' },
      ['body'],
      /The document does not fit messages at body/,
    ],
    [
      'an id of another table',
      { ...message, channelId: MESSAGE },
      ['channelId'],
      /expected the id of a document in "channels"/,
    ],
    [
      'a value that JSON cannot represent',
      { ...message, meta: { at: [1n] } },
      ['meta', 'at', 0],
      /messages: meta\.at\[0\] is a bigint/,
    ],
    ['a value that Postgres cannot store', { ...message, body: 'a\u0000' }, ['body'], /\\u0000/],
  ])('rejects %s before an operation is sent', async (_, document, path, reason) => {
    const run = mutate(({ db }) => db.insert('messages', document as typeof message));
    expect((await run).body).toMatchObject({
      code: 'INVALID_ARGS',
      message: expect.stringMatching(reason),
      details: { table: 'messages', issues: [{ path, message: expect.any(String) }] },
    });
    expect(run.under.engine.batches).toEqual([]);
  });

  it('rejects a given id', async () => {
    const chosen = { name: 'x', id: CHANNEL };
    const { body } = await mutate(({ db }) => db.insert('channels', chosen));
    expect(body).toMatchObject({
      code: 'INVALID_ARGS',
      message: expect.stringMatching(/'id' is set when a document is created/),
    });
  });

  it('into a table with held inserts is sent before the next operation, in the same batch', async () => {
    const handler = async ({ db }: Ctx): Promise<unknown> => {
      const first = await db.insert('channels', { name: 'a' });
      await db.insert('channels', { name: 'b' });
      await db.get(first);
      await db.insert('channels', { name: 'c' });
      return first;
    };
    const under = hostOf({ schema, functions: { fn: mutation({ handler }) } }, (op) => ({
      ok: op.op === 'get' ? { id: op.id } : null,
    }));
    under.program.holdsWrites = new Set(['channels']);
    const { body, held } = await under.call('fn');
    expect(body).toBe(`channels:${uuid(1)}`);
    expect(under.engine.batches.map(({ ops }) => ops.map((op) => op.op))).toEqual([['insert', 'insert', 'get']]);
    expect(held).toEqual([{ op: 'insert', table: 'channels', id: uuid(3), doc: { name: 'c' } }]);
  });

  it('that was held is discarded when the mutation fails', async () => {
    const handler = async ({ db }: Ctx): Promise<never> => {
      await db.insert('channels', { name: 'a' });
      throw new Error('no');
    };
    const under = hostOf({ schema, functions: { fn: mutation({ handler }) } });
    under.program.holdsWrites = new Set(['channels']);
    expect(await under.call('fn')).toMatchObject({ ok: false, held: null });
    expect(under.engine.batches).toEqual([]);
  });
});

describe('patch', () => {
  const patchesOf = (ops: Operation[]): unknown[] =>
    ops.filter((op) => op.op === 'patch').map(({ set, unset }) => ({ set, unset }));

  it('reads, checks the whole document, and writes the named keys only', async () => {
    const run = mutate(({ db }) => db.patch(MESSAGE, { body: ' new ', stars: undefined }), stored);
    expect((await run).body).toMatchObject({ body: 'new', legacy: 'kept' });
    expect(run.under.engine.ops.map((op) => op.op)).toEqual(['get', 'patch']);
    expect(patchesOf(run.under.engine.ops)).toEqual([{ set: { body: 'new' }, unset: ['stars'] }]);
  });

  it('applies refinements to the merged document, and does not write if they fail', async () => {
    const run = mutate(({ db }) => db.patch(MESSAGE, { stars: 9 }), stored);
    expect((await run).body).toMatchObject({
      code: 'INVALID_ARGS',
      details: { table: 'messages', issues: [{ path: [], message: 'more stars than likes' }] },
    });
    expect(run.under.engine.ops.map((op) => op.op)).toEqual(['get']);
  });

  it('does not read a cached document again, until it is written', async () => {
    const run = mutate(async ({ db }) => {
      const message = await db.get(MESSAGE);
      if (message !== null) message.likes = -1;
      await db.patch(MESSAGE, { stars: 2 });
      await db.patch('messages', MESSAGE, { stars: 1 });
      await db.delete(MESSAGE);
      return db.patch(MESSAGE, { stars: 0 });
    }, stored);
    expect((await run).ok).toBe(true);
    expect(run.under.engine.ops.map((op) => op.op)).toEqual(['get', 'patch', 'patch', 'delete', 'get', 'patch']);
  });

  it('of a missing document is null', async () => {
    const run = mutate(({ db }) => db.patch(CHANNEL, { name: 'x' }), stored);
    expect(await run).toMatchObject({ ok: true, body: null });
    expect(patchesOf(run.under.engine.ops)).toEqual([]);
  });

  it('accepts the unchanged id and creation time, but not others', async () => {
    const back = mutate(({ db }) => db.patch(MESSAGE, { ...STORED, body: 'x' } as object), stored);
    expect((await back).ok).toBe(true);
    expect(patchesOf(back.under.engine.ops)).toEqual([
      { set: { channelId: CHANNEL, body: 'x', stars: 1, likes: 2 }, unset: [] },
    ]);
    for (const changed of [{ id: CHANNEL }, { _creationTime: 6 }]) {
      const run = mutate(({ db }) => db.patch(MESSAGE, changed as object), stored);
      expect((await run).body).toMatchObject({ code: 'INVALID_ARGS' });
      expect(patchesOf(run.under.engine.ops)).toEqual([]);
    }
  });

  it('keeps the order of concurrent writes to one document', async () => {
    const run = mutate(
      ({ db }) => Promise.all([db.patch(MESSAGE, { likes: 5 }), db.patch(MESSAGE, { stars: 5 }), db.delete(MESSAGE)]),
      (op) => (op.op === 'patch' ? { ok: { ...STORED, likes: 5, ...op.set } } : stored(op)),
    );
    expect(await run).toMatchObject({ ok: true });
    expect(run.under.engine.ops.map((op) => op.op)).toEqual(['get', 'patch', 'patch', 'delete']);
  });

  describe('of a table whose writes may be held', () => {
    /** Runs `handler` where writes of messages are held. */
    const holding = async (handler: (ctx: Ctx) => unknown, script: Script = stored) => {
      const under = hostOf({ schema, functions: { fn: mutation({ handler }) } }, script);
      under.program.holdsWrites = new Set(['messages']);
      const response = await under.call('fn');
      const responded = under.engine.responses[0];
      return { ...response, sent: under.engine.ops.map((op) => op.op), writes: responded?.writes ?? null };
    };

    it('is held after the read, with the patched document as its result', async () => {
      const { body, sent, writes } = await holding(({ db }) => db.patch(MESSAGE, { likes: 3, body: ' new ' }));
      expect(JSON.stringify(body)).toBe(JSON.stringify({ ...STORED, likes: 3, body: 'new' }));
      expect(sent).toEqual(['get']);
      const patch = { op: 'patch', table: 'messages', id: uuid(0xa), set: { likes: 3, body: 'new' }, unset: [] };
      expect(writes).toEqual([patch]);
    });

    it('is what the next patch is checked and merged with', async () => {
      const { body, sent, writes } = await holding(async ({ db }) => {
        await db.patch(MESSAGE, { likes: 9 });
        return db.patch(MESSAGE, { stars: 8 });
      });
      expect(body).toMatchObject({ likes: 9, stars: 8 });
      expect(sent).toEqual(['get']);
      expect(writes).toHaveLength(2);
    });

    it('precedes later operations, and inserts that are held with it', async () => {
      const { sent, writes } = await holding(async ({ db }) => {
        await db.patch(MESSAGE, { likes: 3 });
        await db.get(CHANNEL);
        await db.insert('messages', { channelId: CHANNEL, body: 'x' });
        await db.patch(MESSAGE, { likes: 4 });
      });
      expect(sent).toEqual(['get', 'patch', 'get']);
      expect(writes?.map(({ op }) => op)).toEqual(['insert', 'patch']);
    });

    it('is discarded when the mutation fails', async () => {
      const { ok, sent, writes } = await holding(async ({ db }) => {
        await db.patch(MESSAGE, { likes: 3 });
        throw new Error('no');
      });
      expect([ok, sent, writes]).toEqual([false, ['get'], null]);
    });

    it.each<[string, Partial<typeof STORED> | object, object]>([
      ['an object', STORED, { meta: { b: 1, a: 2 } }],
      ['a key that the document does not have', STORED, { meta: 1 }],
      ['-0', STORED, { likes: -0, stars: undefined }],
      ['the removal of a key', STORED, { stars: undefined }],
      ['a document with nested values', { ...STORED, meta: [1] }, { likes: 3 }],
    ])('is sent for %s', async (_, document, changes) => {
      const script: Script = (op) => ({ ok: op.op === 'get' ? document : { ...document, ...changes } });
      const { sent, writes } = await holding(({ db }) => db.patch(MESSAGE, changes), script);
      expect([sent, writes]).toEqual([['get', 'patch'], null]);
    });

    it('is sent in an inner transaction, which may be rolled back', async () => {
      const { sent } = await holding(({ db }) => db.transaction(async () => db.patch(MESSAGE, { likes: 3 })));
      expect(sent).toContain('patch');
    });
  });

  it('ignores stored keys that a strict schema does not have, but rejects them in the patch', async () => {
    const id = `settings:${uuid(1)}` as Id<'settings'>;
    const old: Script = (op) => ({
      ok: op.op === 'get' ? { id, _creationTime: 1, theme: 'dark', old: 1 } : { id, theme: 'light' },
    });
    const run = mutate(({ db }) => db.patch(id, { theme: 'light' }), old);
    expect((await run).ok).toBe(true);
    const unknown = mutate(({ db }) => db.patch(id, { nope: 1 } as object), old);
    expect((await unknown).body).toMatchObject({ code: 'INVALID_ARGS' });
  });

  it('rejects removing a key that no document can have, before an operation is sent', async () => {
    for (const key of ['\ud800', 'a\u0000']) {
      const run = mutate(({ db }) => db.patch(MESSAGE, { body: 'x', [key]: undefined } as object), stored);
      expect((await run).body).toMatchObject({ code: 'INVALID_ARGS', details: { table: 'messages' } });
      expect(run.under.engine.batches).toEqual([]);
    }
    const named = mutate(({ db }) => db.patch(MESSAGE, { 'a\u0000': undefined } as object), stored);
    expect((await named).body).toMatchObject({ details: { issues: [{ path: ['a\u0000'] }] } });
  });

  it('never writes defaults', async () => {
    const { likes: _, ...older } = STORED;
    const run = mutate(
      ({ db }) => db.patch(MESSAGE, { stars: 0 }),
      (op) => (op.op === 'get' ? { ok: older } : stored(op)),
    );
    await run;
    expect(patchesOf(run.under.engine.ops)).toEqual([{ set: { stars: 0 }, unset: [] }]);
  });
});

describe('a key named __proto__', () => {
  const MAP = `maps:${uuid(1)}` as Id<'maps'>;
  const proto = (key = '__proto__'): Record<string, unknown> => JSON.parse(`{${JSON.stringify(key)}: {"a": 1}}`);
  const found: Script = (op) => ({ ok: op.op === 'get' ? { id: MAP, ...proto(), byName: {} } : { id: MAP } });

  it.each<[string, unknown[], (db: Ctx['db']) => unknown]>([
    ['an insert', ['byName'], (db) => db.insert('maps', { byName: proto() })],
    ['many of them', [], (db) => db.insertMany('maps', [{ byName: {} }, { byName: {}, ...proto() }])],
    ['a replacement', ['byName'], (db) => db.replace(MAP, { byName: proto() })],
    ['a patch', ['byName'], (db) => db.patch(MAP, { byName: proto() })],
    ['the names of a patch', [], (db) => db.patch(MAP, proto())],
  ])('is rejected in %s if parsing would drop it', async (_, path, write) => {
    const run = mutate(({ db }) => write(db), found);
    expect((await run).body).toMatchObject({
      code: 'INVALID_ARGS',
      message: expect.stringMatching(/does not fit maps at .*a key named __proto__ is not allowed/),
      details: { table: 'maps', issues: [{ path: [...path, '__proto__'] }] },
    });
    expect(run.under.engine.ops.filter(({ op }) => op !== 'get')).toEqual([]);
  });

  it('is stored if parsing keeps it, and can be removed', async () => {
    const run = mutate(async ({ db }) => {
      await db.insert('maps', { byName: { x: proto() }, any: [proto()] });
      await db.patch(MAP, { byName: { x: 1 }, ['__proto__']: undefined });
    }, found);
    expect((await run).ok).toBe(true);
    const [insert, , patch] = run.under.engine.ops;
    expect(insert).toMatchObject({ doc: { byName: { x: proto() }, any: [proto()] } });
    expect(patch).toMatchObject({ set: { byName: { x: 1 } }, unset: ['__proto__'] });
  });
});

it('is the same for untyped code', async () => {
  const fn = mutation({ handler: (ctx) => (ctx as unknown as BaseContext).db.delete(CHANNEL) });
  const { call, engine } = hostOf({ schema, functions: { fn } }, stored);
  expect((await call('fn')).body).toBe(true);
  expect(engine.ops).toEqual([{ op: 'delete', table: 'channels', id: uuid(0xc) }]);
});
