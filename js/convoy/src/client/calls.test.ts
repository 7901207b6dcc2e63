import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { ScriptedServer } from '../../testing/scripted-server.js';
import { makeActionRef, makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { isConvoyError } from '../values/errors.js';
import { createConvoyClient } from './client.js';
import { loadMutations } from './lazy-mutations.js';

beforeAll(loadMutations);

const list = makeQueryRef<{ channelId: string; tags?: string[] }, string[]>('messages.list');
const send = makeMutationRef<{ body: string }, { id: string }>('messages.send');
const invite = makeActionRef<{ to: string }, string>('mail.invite');
const all = makeQueryRef<Record<never, never>, string[]>('channels.list');

let server: ScriptedServer;
beforeEach(async () => {
  server = await ScriptedServer.start();
});
afterEach(() => server.stop());

test('a call posts its arguments and resolves with the data', async () => {
  server.answer = ({ args }) => ({ body: { ok: true, data: [JSON.stringify(args)] } });
  const client = createConvoyClient({ baseUrl: `${server.baseUrl}/` });
  expect(client.baseUrl).toBe(server.baseUrl);
  expect(await client.query(list, { channelId: 'c', tags: ['x'] })).toEqual(['{"channelId":"c","tags":["x"]}']);
  expect(await client.query(all)).toEqual(['{}']);
  expect(server.calls[0]).toMatchObject({ kind: 'query', name: 'messages.list' });
  expect(server.calls[0]?.headers['content-type']).toBe('application/json');
});

test('each mutation carries its own idempotency key', async () => {
  const client = createConvoyClient({ baseUrl: server.baseUrl });
  await client.mutation(send, { body: 'a' });
  await client.mutation(send, { body: 'a' });
  const keys = server.calls.map(({ headers }) => headers['idempotency-key']);
  expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
  expect(keys[1]).not.toBe(keys[0]);
});

test('an action is posted to its own path, without an idempotency key: it may not be repeated', async () => {
  server.answer = () => ({ body: { ok: true, data: 'sent' } });
  const client = createConvoyClient({ baseUrl: server.baseUrl });
  expect(await client.action(invite, { to: 'ada' })).toBe('sent');
  expect(server.calls).toMatchObject([{ kind: 'action', name: 'mail.invite', args: { to: 'ada' } }]);
  expect(server.calls[0]?.headers).not.toHaveProperty('idempotency-key');
});

test('each call sends the headers and the current token', async () => {
  const tokens = ['one', 'two'];
  const client = createConvoyClient({
    baseUrl: server.baseUrl,
    headers: () => ({ 'x-tenant': 'acme' }),
    auth: async () => tokens.shift() ?? null,
  });
  for (const _ of ['one', 'two', 'none']) await client.query(all);
  expect(server.calls.map(({ headers }) => headers.authorization)).toEqual(['Bearer one', 'Bearer two', undefined]);
  expect(server.calls[0]?.headers['x-tenant']).toBe('acme');
});

test('each call sends the traceparent of the current span, and goes without one that is none', async () => {
  const span = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  const spans = [span, null, undefined, 'x', `${span}\n`];
  const client = createConvoyClient({
    baseUrl: server.baseUrl,
    traceparent: () => {
      if (spans.length === 0) throw new Error('no tracer');
      return spans.shift();
    },
  });
  await client.mutation(send, { body: 'a' });
  for (let n = 0; n < 5; n++) await client.query(all);
  expect(server.calls.map(({ headers }) => headers.traceparent)).toEqual([span, ...Array(5).fill(undefined)]);
});

test('an error of the server arrives with all its members', async () => {
  const error = { code: 'INTERNAL', message: 'Something went wrong on the server.', errorId: 'e1' };
  server.answer = () => ({ status: 500, body: { ok: false, error } });
  const thrown = await createConvoyClient({ baseUrl: server.baseUrl })
    .mutation(send, { body: 'a' })
    .catch((e) => e);
  expect(isConvoyError(thrown)).toBe(true);
  expect(thrown).toMatchObject({ ...error, status: 500 });
});

test('an error carries its details', async () => {
  const details = { issues: [{ path: ['body'], message: 'too long' }] };
  server.answer = () => ({ status: 400, body: { ok: false, error: { code: 'INVALID_ARGS', message: 'no', details } } });
  const client = createConvoyClient({ baseUrl: server.baseUrl });
  await expect(client.mutation(send, { body: 'a' })).rejects.toMatchObject({ code: 'INVALID_ARGS', details });
});

test('no network is UNAVAILABLE, with its cause', async () => {
  const client = createConvoyClient({ baseUrl: server.baseUrl });
  await server.stop();
  await expect(client.query(all)).rejects.toMatchObject({ code: 'UNAVAILABLE', cause: expect.any(TypeError) });
  server = await ScriptedServer.start();
});

test('an `auth` that fails is UNAVAILABLE, with its cause', async () => {
  const cause = new Error('signed out');
  const client = createConvoyClient({ baseUrl: server.baseUrl, auth: () => Promise.reject(cause) });
  await expect(client.query(all)).rejects.toMatchObject({ code: 'UNAVAILABLE', cause });
});

test('a token with characters invalid in a header is UNAVAILABLE', async () => {
  const client = createConvoyClient({ baseUrl: server.baseUrl, auth: () => 'to\nken' });
  await expect(client.query(all)).rejects.toMatchObject({ code: 'UNAVAILABLE', cause: expect.any(TypeError) });
});

test.each([
  [502, 'text/html', 'UNAVAILABLE', 'away'],
  [404, 'text/html', 'NOT_FOUND', 'baseUrl'],
  [200, 'text/html', 'NOT_FOUND', 'baseUrl'],
])('a %i page of another server is detected', async (status, type, code, word) => {
  server.answer = () => ({ status, type, body: '<h1>hello</h1>' });
  const client = createConvoyClient({ baseUrl: server.baseUrl });
  await expect(client.query(all)).rejects.toMatchObject({ code, message: expect.stringContaining(word) });
});

test('arguments that JSON cannot carry are not sent', async () => {
  const client = createConvoyClient({ baseUrl: server.baseUrl });
  await expect(client.mutation(send, { body: Number.NaN as unknown as string })).rejects.toMatchObject({
    code: 'INVALID_ARGS',
  });
  expect(server.calls).toEqual([]);
});

test('closing ends calls in flight, and refuses later ones', async () => {
  const client = createConvoyClient({ baseUrl: server.baseUrl });
  const arrived = new Promise<void>((resolve) => {
    server.answer = () => {
      resolve();
      return new Promise(() => {});
    };
  });
  const call = client.query(all);
  await arrived;
  client.close();
  await expect(call).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await expect(client.query(all)).rejects.toMatchObject({ code: 'UNAVAILABLE', message: 'The client was closed.' });
});

test('many calls add no more than a few listeners to one signal, and leave none', async () => {
  const listeners = new Map<EventTarget, number>();
  let most = 0;
  const count = (target: EventTarget, change: number) => {
    listeners.set(target, (listeners.get(target) ?? 0) + change);
    most = Math.max(most, listeners.get(target) ?? 0);
  };
  const { addEventListener: add, removeEventListener: remove } = AbortSignal.prototype;
  vi.spyOn(AbortSignal.prototype, 'addEventListener').mockImplementation(function (this: AbortSignal, ...args) {
    count(this, 1);
    add.apply(this, args);
  });
  vi.spyOn(AbortSignal.prototype, 'removeEventListener').mockImplementation(function (this: AbortSignal, ...args) {
    count(this, -1);
    remove.apply(this, args);
  });
  const client = createConvoyClient({ fetch: async () => Response.json({ ok: true, data: null }) });
  const calls = Array.from({ length: 50 }, () => client.mutation(send, { body: 'a' }, { parallel: true }));
  await Promise.all([...calls, ...calls.map(() => client.query(all))]);
  vi.restoreAllMocks();
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThan(5);
  expect([...listeners.values()].filter((left) => left > 0)).toEqual([]);
});
