/** Functions of every kind, called by other functions, over HTTP and as live queries. */
import {
  action,
  ConvoyError,
  defineSchema,
  defineTable,
  internalAction,
  internalMutation,
  internalQuery,
  mutation,
  query,
} from '@avvos/convoy';
import { makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { post } from './app.js';
import { failure, serveImprovised } from './improvised.js';

const schema = defineSchema({
  notes: defineTable({ text: z.string(), at: z.number().optional() }).index('by_text', ['text']),
  names: defineTable({ name: z.string() }).index('by_name', ['name'], { unique: true }),
});

const input = { text: z.string() };
const add = mutation({ input, handler: (ctx, note) => ctx.db.insert('notes', note) });
const addAndRefuse = mutation({
  input,
  handler: async (ctx, note) => {
    await ctx.db.insert('notes', note);
    throw new ConvoyError('FORBIDDEN', 'Not this one.', { details: note });
  },
});
const texts = query({
  handler: async (ctx) => (await ctx.db.query('notes').collect()).map((note) => note.text as string),
});
const hiddenTexts = internalQuery({ handler: (ctx) => ctx.runQuery(texts) });
const hiddenAdd = internalMutation({ input, handler: (ctx, note) => ctx.runMutation(add, note) });
const hiddenShout = internalAction({ input, handler: (_ctx, note) => note.text.toUpperCase() });
const shout = action({
  input,
  returns: z.object({ text: z.string(), at: z.date() }),
  handler: async (ctx, note) => {
    const text = await ctx.runAction(hiddenShout, note);
    await ctx.runMutation(hiddenAdd, { text });
    return { text, at: new Date(0) };
  },
});
const second = query({ handler: (ctx) => Math.floor(ctx.now(1_000) / 1_000) });
const notes = { add, addAndRefuse, texts, hiddenTexts, hiddenAdd, hiddenShout, shout, second };

const ADD = makeMutationRef<{ text: string }, string>('notes.add');
const TEXTS = makeQueryRef<object, string[]>('notes.texts');
const HIDDEN_ADD = makeMutationRef<{ text: string }, string>('notes.hiddenAdd');
const HIDDEN_TEXTS = makeQueryRef<object, string[]>('notes.hiddenTexts');
const SHOUT = makeActionRef<{ text: string }, { text: string; at: string }>('notes.shout');
const SECOND = makeQueryRef<object, number>('notes.second');

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const app of open.splice(0)) await app.close();
});
async function served() {
  const app = await serveImprovised({ schema: schema as never, functions: { notes } });
  open.push(app);
  return { ...app, texts: () => app.convoy.query(TEXTS, {}) };
}

describe('a function that calls functions', () => {
  test('in a mutation runs them in its transaction, and reads their writes', async () => {
    const app = await served();
    await app.mutation(async (ctx) => {
      await ctx.db.insert('notes', { text: 'own' });
      await ctx.runMutation(ADD, { text: 'by reference' });
      await ctx.runMutation(hiddenAdd, { text: 'by value' });
      expect(await ctx.runQuery(TEXTS)).toEqual(['own', 'by reference', 'by value']);
      expect(await app.texts()).toEqual([]);
    });
    expect(await app.texts()).toEqual(['own', 'by reference', 'by value']);
    const refused = app.mutation(async (ctx) => {
      await ctx.runMutation(ADD, { text: 'never' });
      throw new ConvoyError('CONFLICT', 'After all, no.');
    });
    await expect(refused).rejects.toMatchObject({ code: 'CONFLICT', message: 'After all, no.' });
    expect(await app.texts()).toHaveLength(3);
  });

  test('that fail continues without their writes, and receives their errors', async () => {
    const app = await served();
    await app.mutation(async (ctx) => {
      await ctx.runMutation(ADD, { text: 'before' });
      const error = await failure(ctx.runMutation(addAndRefuse, { text: 'inside' }));
      expect(error).toMatchObject({ code: 'FORBIDDEN', message: 'Not this one.', details: { text: 'inside' } });
      expect(await failure(ctx.runMutation(ADD, { text: 5 as never }))).toMatchObject({ code: 'INVALID_ARGS' });
      expect(await ctx.runQuery(texts)).toEqual(['before']);
      await ctx.runMutation(ADD, { text: 'after' });
    });
    expect(await app.texts()).toEqual(['before', 'after']);
  });

  test('and does not handle their failure fails with it', async () => {
    const app = await served();
    const careless = app.mutation(async (ctx) => {
      void ctx.runMutation(addAndRefuse, { text: 'inside' });
      await ctx.db.insert('notes', { text: 'own' });
    });
    await expect(careless).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(await app.texts()).toEqual([]);
  });

  test('in a query runs them on its snapshot', async () => {
    const app = await served();
    await app.query(async (ctx) => {
      const before = await ctx.runQuery(TEXTS);
      await app.psql.query(`insert into notes (data) values ('{"text": "meanwhile"}')`);
      expect(await ctx.runQuery(HIDDEN_TEXTS)).toEqual(before);
      expect(await ctx.db.query('notes').count()).toBe(before.length);
    });
  });

  test('cannot call mutations from a query, nor actions from a function that may be retried', async () => {
    const app = await served();
    for (const forbidden of [
      () => app.query((ctx) => ctx.runMutation(ADD, { text: 'never' })),
      () => app.query((ctx) => ctx.db.insert('notes', { text: 'never' })),
      () => app.query((ctx) => ctx.runAction(SHOUT, { text: 'never' })),
      () => app.mutation((ctx) => ctx.runAction(SHOUT, { text: 'never' })),
      () => app.action((ctx) => ctx.db.transaction(() => ctx.runAction(SHOUT, { text: 'never' }))),
    ]) {
      expect(await failure(forbidden())).toBeInstanceOf(TypeError);
    }
    expect(await app.texts()).toEqual([]);
  });

  test('in an action has each mutation committed when it resolves, even if the action fails later', async () => {
    const app = await served();
    const failing = app.action(async (ctx) => {
      await ctx.runMutation(ADD, { text: 'kept' });
      expect((await app.psql.query('select from notes')).rowCount).toBe(1);
      expect(await ctx.runQuery(TEXTS)).toEqual(['kept']);
      expect(await failure(ctx.runMutation(addAndRefuse, { text: 'never' }))).toMatchObject({
        code: 'FORBIDDEN',
      });
      await app.psql.query(`insert into notes (data) values ('{"text": "by hand"}')`);
      expect(await ctx.runQuery(TEXTS)).toEqual(['kept', 'by hand']);
      throw new ConvoyError('UNAUTHORIZED', 'Too late.');
    });
    await expect(failing).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    expect(await app.texts()).toEqual(['kept', 'by hand']);
  });
});

describe('over HTTP', () => {
  test('an action returns its result parsed by `returns`', async () => {
    const app = await served();
    expect(await app.client.action(SHOUT, { text: 'hello' })).toEqual({
      text: 'HELLO',
      at: '1970-01-01T00:00:00.000Z',
    });
    const { status, answer } = await post(app.baseUrl, 'action/notes.shout', '{"text": "again"}');
    expect({ status, answer }).toMatchObject({ status: 200, answer: { ok: true, data: { text: 'AGAIN' } } });
    expect(await app.texts()).toEqual(['HELLO', 'AGAIN']);
    const wrong = await post(app.baseUrl, 'action/notes.shout', '{"text": 5}');
    expect(wrong).toMatchObject({ status: 400, answer: { error: { code: 'INVALID_ARGS' } } });
  });

  test('an internal function, a function of another kind and an unknown one cannot be distinguished', async () => {
    const app = await served();
    const asked = async (kind: string, name: string) => {
      const response = await fetch(`${app.baseUrl}/api/${kind}/${name}`, { method: 'POST', body: '{"text": "x"}' });
      const headers = [...response.headers].filter(([header]) => header !== 'date' && header !== 'content-length');
      return { status: response.status, headers, body: (await response.text()).replaceAll(name, '<name>') };
    };
    const names = ['hiddenTexts', 'hiddenAdd', 'hiddenShout', 'add', 'texts', 'shout'].map((name) => `notes.${name}`);
    const publicNames: Record<string, string> = { query: 'notes.texts', mutation: 'notes.add', action: 'notes.shout' };
    for (const kind of ['query', 'mutation', 'action']) {
      const unknown = await asked(kind, 'notes.unknown');
      expect(unknown).toMatchObject({ status: 404, body: expect.stringContaining('NOT_FOUND') });
      for (const name of names) {
        if (name !== publicNames[kind]) expect(await asked(kind, name), `${kind} ${name}`).toEqual(unknown);
      }
    }
    const subscribed = async (name: string) => {
      const response = await fetch(`${app.baseUrl}/api/subscribe?name=${name}`);
      return { status: response.status, body: (await response.text()).replaceAll(name, '<name>') };
    };
    expect(await subscribed('notes.hiddenTexts')).toEqual(await subscribed('notes.unknown'));
    expect(await subscribed('notes.add')).toEqual(await subscribed('notes.unknown'));
    expect(await app.texts()).toEqual([]);
    // Other functions of the program may call them.
    await app.convoy.mutation(HIDDEN_ADD, { text: 'inside' });
    expect(await app.convoy.query(HIDDEN_TEXTS, {})).toEqual(['inside']);
  });

  test.each([
    'constructor',
    '__proto__',
    'toString',
    'notes',
    'notes.',
    '.',
    'notes.add.x',
    "';drop table notes;--",
    '😀',
  ])('there is no function %s', async (name) => {
    const app = await served();
    for (const kind of ['query', 'mutation', 'action']) {
      const { status, answer } = await post(app.baseUrl, `${kind}/${encodeURIComponent(name)}`, '{}');
      expect({ status, code: answer.error?.code }).toEqual({ status: 404, code: 'NOT_FOUND' });
    }
  });

  test('an error reaches the client with all its characters', async () => {
    const app = await served();
    const thrown = new ConvoyError('NOT_FOUND', 'No 😀 and no \ud800 here.', { details: { name: '\udc00' } });
    const error = await failure(app.mutation(() => Promise.reject(thrown)));
    expect(error).toMatchObject({ code: 'NOT_FOUND' });
    expect((error as ConvoyError).message).toContain('No 😀 and no ');
  });
});

describe('a mutation with an idempotency key', () => {
  const send = async (baseUrl: string, key: string, body: object) => {
    const response = await fetch(`${baseUrl}/api/mutation/notes.add`, {
      method: 'POST',
      headers: { 'idempotency-key': key },
      body: JSON.stringify(body),
    });
    const answer = (await response.json()) as { data?: string; error?: { code: string } };
    return { status: response.status, replayed: response.headers.get('idempotency-replayed'), ...answer };
  };

  test('runs once, and returns the same result when repeated', async () => {
    const app = await served();
    const first = await send(app.baseUrl, 'k1', { text: 'once' });
    expect(first).toMatchObject({ status: 200, replayed: null });
    expect(await send(app.baseUrl, 'k1', { text: 'once' })).toEqual({ ...first, replayed: 'true' });
    const other = await send(app.baseUrl, 'k2', { text: 'once' });
    expect(other).toMatchObject({ status: 200, replayed: null });
    expect(other.data).not.toBe(first.data);
    expect(await send(app.baseUrl, 'k1', { text: 'twice' })).toMatchObject({
      status: 409,
      error: { code: 'CONFLICT' },
    });
    expect(await app.texts()).toEqual(['once', 'once']);
  });

  test('runs once when sent many times concurrently', async () => {
    const app = await served();
    const answers = await Promise.all(Array.from({ length: 20 }, () => send(app.baseUrl, 'k', { text: 'once' })));
    expect(new Set(answers.map(({ data }) => data)).size).toBe(1);
    expect(answers.filter(({ replayed }) => replayed === null)).toHaveLength(1);
    expect(await app.texts()).toEqual(['once']);
  });

  test('that failed may be retried with the same key', async () => {
    const app = await served();
    expect(await send(app.baseUrl, 'k', { text: 5 })).toMatchObject({ status: 400 });
    expect(await send(app.baseUrl, 'k', { text: 'now' })).toMatchObject({ status: 200, replayed: null });
    for (const key of ['x'.repeat(129), 'a\tb']) {
      expect(await send(app.baseUrl, key, { text: 'never' })).toMatchObject({ status: 400 });
    }
    expect(await app.texts()).toEqual(['now']);
  });
});

describe('ctx.now', () => {
  test('runs a live query again at the requested interval', async () => {
    const app = await served();
    const seconds: number[] = [];
    const third = new Promise<void>((resolve) => {
      app.client.watch(SECOND, {}, ({ data }) => {
        if (data !== null && seconds.at(-1) !== data) seconds.push(data);
        if (seconds.length === 3) resolve();
      });
    });
    await third;
    expect([...seconds].sort((one, other) => one - other)).toEqual(seconds);
  });

  test('rejects invalid intervals', async () => {
    const app = await served();
    for (const period of [0, 99, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(await failure(app.query((ctx) => ctx.now(period)))).toBeInstanceOf(RangeError);
    }
    const before = Date.now();
    const [now, later] = await app.mutation((ctx) => [ctx.now(), ctx.now(100)]);
    expect(before <= now && now <= later && later <= Date.now()).toBe(true);
  });
});
