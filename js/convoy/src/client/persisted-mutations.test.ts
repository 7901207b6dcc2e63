/** Mutations that are kept in a store… */
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { until } from '../../testing/until.js';
import { makeMutationRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import type { AsyncStore } from './async-store.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { loadMutations } from './lazy-mutations.js';
import { MAX_AGE_MS } from './mutations.js';
import { MAX_FOREIGN_AGE_MS, type PersistOptions } from './persisted-mutations.js';

beforeAll(loadMutations);

const add = makeMutationRef<{ n: number }, string>('rows.add');

/** A store that outlives the clients of a test. */
class MemoryStore implements AsyncStore {
  readonly values = new Map<string, string>();
  async keys(prefix: string): Promise<string[]> {
    return [...this.values.keys()].filter((key) => key.startsWith(prefix)).reverse();
  }
  async get(key: string): Promise<string | null> {
    return this.values.get(key) ?? null;
  }
  async set(key: string, value: string): Promise<void> {
    this.values.set(key, value);
  }
  async delete(key: string): Promise<void> {
    this.values.delete(key);
  }
}

let store: MemoryStore;
let scope: string | null;
let failures: unknown[];
const clients: ConvoyClient[] = [];
beforeEach(() => {
  // Pages of these tests end without a trace; their Web Locks, which Node has since 24.5, would stay.
  vi.stubGlobal('navigator', undefined);
  store = new MemoryStore();
  scope = 'ann';
  failures = [];
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  vi.doUnmock('./persisted-mutations.js');
  vi.resetModules();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** A page that is opened. Without `answer`, its requests are on their way for ever. */
function page(answer?: HandTransport['answer'], options: Partial<PersistOptions> = {}, create = createConvoyClient) {
  const transport = new HandTransport();
  transport.answer = answer ?? (() => new Promise(() => {}));
  const onError: PersistOptions['onError'] = ({ code }, mutation) => failures.push({ code, ...mutation });
  const client = create({
    baseUrl: 'https://a.test',
    transport,
    persist: { store, scope: () => scope, onError, ...options },
  });
  clients.push(client);
  return { client, transport, numbers: () => transport.calls.map(({ args }) => JSON.parse(args).n as number) };
}

const kept = () => [...store.values.values()].map((text) => JSON.parse(text).args as string);

test('are there while they are sent, and not afterwards', async () => {
  const { client, transport } = page(() => {
    expect(kept()).toEqual(['{"n":1}']);
    return 'ok';
  });
  expect(await client.mutation(add, { n: 1 })).toBe('ok');
  expect(transport.calls).toHaveLength(1);
  await until(() => expect(kept()).toEqual([]));
  transport.answer = () => Promise.reject(new ConvoyError('CONFLICT', 'taken'));
  await expect(client.mutation(add, { n: 2 })).rejects.toMatchObject({ code: 'CONFLICT' });
  await until(() => expect(kept()).toEqual([]));
});

test('are sent by the next page in their order, with their keys, before its own', async () => {
  const first = page();
  for (const n of [1, 2, 3]) first.client.mutation(add, { n }).catch(() => {});
  await until(() => expect(kept()).toHaveLength(3));
  await until(() => expect(first.numbers()).toEqual([1]));
  const next = page(() => 'ok');
  expect(await next.client.mutation(add, { n: 4 })).toBe('ok');
  expect(next.numbers()).toEqual([1, 2, 3, 4]);
  const [sent, ...waited] = next.transport.calls;
  expect(sent).toMatchObject({ idempotencyKey: first.transport.calls[0]?.idempotencyKey, attempt: 2 });
  expect(waited.map(({ attempt }) => attempt)).toEqual([1, 1, 1]);
  await until(() => expect(kept()).toEqual([]));
});

test('are kept by a client that is closed', async () => {
  const first = page();
  const pending = first.client.mutation(add, { n: 1 });
  pending.catch(() => {});
  await until(() => expect(first.numbers()).toEqual([1]));
  first.client.close();
  await until(() => expect(kept()).toEqual(['{"n":1}']));
});

test('are not sent where they may have been sent over 23 hours ago, and then their outcome is unknown', async () => {
  const now = vi.spyOn(Date, 'now').mockReturnValue(0);
  const first = page();
  for (const n of [1, 2]) first.client.mutation(add, { n }).catch(() => {});
  await until(() => expect(first.numbers()).toEqual([1]));
  await until(() => expect(kept()).toHaveLength(2));
  now.mockReturnValue(MAX_AGE_MS + 1);
  const next = page(() => 'ok');
  // The second was certainly not sent.
  await until(() => expect(next.numbers()).toEqual([2]));
  expect(failures).toEqual([{ code: 'UNAVAILABLE', name: 'rows.add', args: { n: 1 } }]);
  await until(() => expect(kept()).toEqual([]));
});

test('are sent again where they were sent first 23 hours ago', async () => {
  // `until` advances the time of fake timers.
  const now = vi.spyOn(Date, 'now').mockReturnValue(0);
  const first = page();
  first.client.mutation(add, { n: 1 }).catch(() => {});
  await until(() => expect(first.numbers()).toEqual([1]));
  await until(() => expect(kept()).toHaveLength(1));
  now.mockReturnValue(MAX_AGE_MS);
  const next = page(() => 'ok');
  await until(() => expect(next.numbers()).toEqual([1]));
  await until(() => expect(kept()).toEqual([]));
  expect(failures).toEqual([]);
});

test('of a server that cannot tell repetitions have an unknown outcome', async () => {
  const first = page();
  first.client.mutation(add, { n: 1 }).catch(() => {});
  await until(() => expect(first.numbers()).toEqual([1]));
  page(() => Promise.reject(new ConvoyError('CONFLICT', 'not run again', { details: { repeatable: false } })));
  await until(() => expect(failures).toMatchObject([{ code: 'UNAVAILABLE' }]));
});

test('are sent only for the one who called them', async () => {
  const first = page();
  first.client.mutation(add, { n: 1 }).catch(() => {});
  await until(() => expect(first.numbers()).toEqual([1]));
  scope = 'bob';
  const bob = page(() => 'ok');
  expect(await bob.client.mutation(add, { n: 2 })).toBe('ok');
  expect(bob.numbers()).toEqual([2]);
  expect(kept()).toContain('{"n":1}');
});

test('of someone who does not sign in again are kept for seven days', async () => {
  const now = vi.spyOn(Date, 'now').mockReturnValue(0);
  const first = page();
  first.client.mutation(add, { n: 1 }).catch(() => {});
  await until(() => expect(kept()).toEqual(['{"n":1}']));
  scope = 'bob';
  // The mutation of a page is sent when it has looked at those of earlier pages.
  now.mockReturnValue(MAX_FOREIGN_AGE_MS);
  await page(() => 'ok').client.mutation(add, { n: 2 });
  await until(() => expect(kept()).toEqual(['{"n":1}']));
  now.mockReturnValue(MAX_FOREIGN_AGE_MS + 1);
  await page(() => 'ok').client.mutation(add, { n: 3 });
  await until(() => expect(kept()).toEqual([]));
  expect(first.numbers()).toEqual([1]);
});

test('are deleted at a sign-out, and those that wait are rejected', async () => {
  let answer = (_data: string) => {};
  const { client, numbers } = page(
    () =>
      new Promise((resolve) => {
        answer = resolve;
      }),
  );
  const [sent, waiting] = [client.mutation(add, { n: 1 }), client.mutation(add, { n: 2 })];
  waiting.catch(() => {});
  await until(() => expect(numbers()).toEqual([1]));
  scope = null;
  client.refreshAuth();
  await until(() => expect(kept()).toEqual([]));
  answer('ok');
  expect(await sent).toBe('ok');
  await expect(waiting).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  expect(numbers()).toEqual([1]);
  const anonymous = client.mutation(add, { n: 3 });
  await until(() => expect(numbers()).toEqual([1, 3]));
  expect(kept()).toEqual([]);
  answer('ok');
  await anonymous;
});

test('are not kept while `scope` returns undefined, which counts as null', async () => {
  let user: string | undefined = 'ann';
  const { client, numbers } = page(undefined, { scope: () => user });
  const sent = client.mutation(add, { n: 1 });
  sent.catch(() => {});
  await until(() => expect(numbers()).toEqual([1]));
  expect(kept()).toEqual(['{"n":1}']);
  user = undefined;
  client.refreshAuth();
  await until(() => expect(kept()).toEqual([]));
  const anonymous = page(() => 'ok', { scope: () => user });
  let keptWhenSent: unknown;
  anonymous.transport.answer = () => {
    keptWhenSent = kept();
    return 'ok';
  };
  expect(await anonymous.client.mutation(add, { n: 2 })).toBe('ok');
  expect(keptWhenSent).toEqual([]);
});

/** A page on which `scope` returns a promise from its second call on, until `scope` is mended. */
function pageWithPromise(answer: HandTransport['answer'], valid = 1) {
  let calls = 0;
  const broken = { isMended: false };
  const opened = page(answer, {
    scope: () => (calls++ < valid || broken.isMended ? scope : (Promise.resolve(scope) as never)),
  });
  return { ...opened, broken };
}

test('stay in the store, and new ones are refused, while `scope` returns no string', async () => {
  const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
  const first = page();
  first.client.mutation(add, { n: 1 }).catch(() => {});
  await until(() => expect(first.numbers()).toEqual([1]));
  const { client, numbers, broken } = pageWithPromise(() => 'ok');
  await until(() => expect(logged).toHaveBeenCalledWith(expect.stringContaining('are not sent'), expect.anything()));
  await expect(client.mutation(add, { n: 2 })).rejects.toMatchObject({
    code: 'UNAUTHORIZED',
    message: '`scope` must return a string or null, not `object`.',
  });
  client.refreshAuth();
  expect(logged).toHaveBeenLastCalledWith(expect.stringContaining('stay in their store'), expect.anything());
  expect(numbers()).toEqual([]);
  expect(kept()).toEqual(['{"n":1}']);
  broken.isMended = true;
  expect(await client.mutation(add, { n: 3 })).toBe('ok');
  const next = page(() => 'ok');
  await until(() => expect(next.numbers()).toEqual([1]));
  expect(failures).toEqual([]);
});

test('of an earlier page stay in the store where `scope` returns no string before another attempt', async () => {
  const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
  const first = page();
  first.client.mutation(add, { n: 1 }).catch(() => {});
  await until(() => expect(first.numbers()).toEqual([1]));
  const again = () => Promise.reject(new ConvoyError('UNAVAILABLE', 'away', { details: { repeatable: true } }));
  // At the creation of the client, of the code that keeps mutations, before it looks at this one, and before it sends it.
  const { numbers } = pageWithPromise(again, 4);
  await until(() => expect(logged).toHaveBeenCalledWith(expect.stringContaining('are not sent'), expect.anything()));
  expect(numbers()).toEqual([1]);
  expect(kept()).toEqual(['{"n":1}']);
  expect(failures).toEqual([]);
});

test('are sent without being kept where the store fails', async () => {
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {});
  const fail = () => Promise.reject(new Error('the quota is used up'));
  const { client } = page(() => 'ok', { store: { keys: fail, get: fail, set: fail, delete: fail } });
  expect(await client.mutation(add, { n: 1 })).toBe('ok');
  expect(await client.mutation(add, { n: 2 })).toBe('ok');
  expect(warned).toHaveBeenCalledOnce();
});

test('are left alone where they are not theirs: of another server, or of other code', async () => {
  store.values.set('convoy.mutation https://a.test 1', 'not JSON');
  store.values.set('another key', '{}');
  const first = page();
  first.client.mutation(add, { n: 1 }).catch(() => {});
  await until(() => expect(first.numbers()).toEqual([1]));
  const transport = new HandTransport();
  clients.push(createConvoyClient({ baseUrl: 'https://b.test', transport, persist: { store, scope: () => scope } }));
  const next = page(() => 'ok');
  await until(() => expect(next.numbers()).toEqual([1]));
  expect(transport.calls).toEqual([]);
  await until(() => expect(store.values.size).toBe(2));
});

test('one that waits for code to load is not sent once someone else has signed in', async () => {
  const { client, transport } = page(() => 'ok');
  const called = client.mutation(add, { n: 1 });
  scope = 'bob';
  client.refreshAuth();
  await expect(called).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  expect(transport.calls).toEqual([]);
});

test('one that is called while those before wait for code to load is sent after them, at each moment', async () => {
  for (let microtasks = 0; microtasks < 60; microtasks++) {
    const { client, numbers } = page(() => 'ok');
    const first = client.mutation(add, { n: 1 });
    for (let n = 0; n < microtasks; n++) await null;
    await Promise.all([first, client.mutation(add, { n: 2 })]);
    expect(numbers(), `called ${microtasks} microtasks later`).toEqual([1, 2]);
  }
});

/** A page whose code that keeps mutations is loaded by `load`. */
async function pageLoading(load: () => Promise<object>) {
  vi.doMock('./persisted-mutations.js', load);
  vi.resetModules();
  const { createConvoyClient: create } = await import('./client.js');
  return page(() => 'ok', {}, create);
}

test('have their code loaded when the client is created, not by the first one', async () => {
  let isLoading = false;
  await pageLoading(() => {
    isLoading = true;
    return vi.importActual('./persisted-mutations.js');
  });
  await until(() => expect(isLoading).toBe(true));
});

test('that are called before their code is loaded are sent when they are in the store, not before', async () => {
  let loaded = () => {};
  const loading = new Promise<void>((resolve) => {
    loaded = resolve;
  });
  const { client, transport } = await pageLoading(async () => {
    await loading;
    return vi.importActual('./persisted-mutations.js');
  });
  transport.answer = () => {
    expect(kept()).toEqual(['{"n":1}']);
    return 'ok';
  };
  const called = client.mutation(add, { n: 1 });
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(transport.calls).toEqual([]);
  loaded();
  expect(await called).toBe('ok');
});

test('are sent without being kept where their code cannot be loaded', async () => {
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {});
  const { client } = await pageLoading(() => Promise.reject(new TypeError('Failed to fetch')));
  expect(await client.mutation(add, { n: 1 })).toBe('ok');
  expect(warned).toHaveBeenCalledOnce();
  expect(kept()).toEqual([]);
});

const TOKENS = {
  'auth() rejects': () => Promise.reject(new TypeError('fetch failed')),
  'auth() returns no string': () => ({ token: 't' }) as never,
};

/** A page whose requests are answered, with a token. */
function signedInPage(auth: () => unknown) {
  const fetch = vi.fn(async (_url: string, _init: RequestInit) => Response.json({ ok: true, data: 'ok' }));
  const onError: PersistOptions['onError'] = ({ code }, mutation) => failures.push({ code, ...mutation });
  const persist = { store, scope: () => scope, onError };
  const options = { baseUrl: 'https://a.test', auth: auth as () => string, fetch: fetch as never, persist };
  const client = createConvoyClient(options);
  clients.push(client);
  const attempts = () => fetch.mock.calls.map(([, { headers }]) => new Headers(headers).get('convoy-attempt'));
  return { client, fetch, attempts };
}

test.each(Object.entries(TOKENS))('of earlier pages stay in the store while %s', async (_, failing) => {
  const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
  vi.stubGlobal('navigator', { onLine: false });
  const asked = vi.fn(failing);
  const first = signedInPage(asked);
  first.client.mutation(add, { n: 1 }).catch(() => {});
  await until(() => expect(asked).toHaveBeenCalled());
  await until(() => expect(kept()).toEqual(['{"n":1}']));
  first.client.close();
  vi.stubGlobal('navigator', undefined);
  const second = signedInPage(failing);
  await until(() => expect(logged).toHaveBeenCalled());
  expect([kept(), failures, second.attempts()]).toEqual([['{"n":1}'], [], []]);
  await expect(second.client.mutation(add, { n: 2 })).rejects.toMatchObject({ code: expect.any(String) });
  second.client.close();
  const third = signedInPage(() => 'token');
  await until(() => expect(kept()).toEqual([]));
  expect([failures, third.attempts()]).toEqual([[], [null]]);
});

test('of this page wait while it is offline and its token cannot be renewed', async () => {
  vi.stubGlobal('navigator', { onLine: false });
  let auth: () => unknown = TOKENS['auth() rejects'];
  const asked = vi.fn(() => auth());
  const { client, attempts } = signedInPage(asked);
  vi.useFakeTimers();
  const sent = client.mutation(add, { n: 1 });
  await vi.waitFor(() => expect(asked).toHaveBeenCalled());
  await vi.advanceTimersByTimeAsync(120_000);
  expect(asked.mock.calls.length).toBeGreaterThanOrEqual(3);
  expect([kept(), attempts()]).toEqual([['{"n":1}'], []]);
  auth = () => 'token';
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await sent).toBe('ok');
  expect(attempts()).toEqual([null]);
});
