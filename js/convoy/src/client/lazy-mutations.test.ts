/** The first mutations of a page: their code is not loaded yet. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { makeMutationRef } from '../protocol/refs.js';

const add = makeMutationRef<{ n: number }, number>('items.add');

beforeEach(() => vi.resetModules());
afterEach(() => vi.doUnmock('./mutations.js'));

async function started() {
  const { createConvoyClient } = await import('./client.js');
  const transport = new HandTransport();
  transport.answer = ({ args }) => JSON.parse(args).n;
  const client = createConvoyClient({ transport });
  const sent = () => transport.calls.map(({ args }) => JSON.parse(args).n);
  return { client, transport, sent };
}

test('are sent when the code is loaded, in the order of their calls', async () => {
  const { client, sent } = await started();
  const answers = [1, 2, 3].map((n) => client.mutation(add, { n }, { await: 'committed' }));
  expect(sent()).toEqual([]);
  expect(await Promise.all(answers)).toEqual([1, 2, 3]);
  expect(sent()).toEqual([1, 2, 3]);
  client.close();
});

test('are sent before one that is called when the code has just been loaded', async () => {
  const { client, sent } = await started();
  const { loadMutations } = await import('./lazy-mutations.js');
  const last = loadMutations().then(() => client.mutation(add, { n: 2 }, { await: 'committed' }));
  const first = client.mutation(add, { n: 1 }, { await: 'committed' });
  expect(await Promise.all([first, last])).toEqual([1, 2]);
  expect(sent()).toEqual([1, 2]);
  client.close();
});

test('reject beyond a thousand that wait', async () => {
  const { client, sent } = await started();
  const numbers = Array.from({ length: 1_001 }, (_, n) => n);
  const ended = await Promise.allSettled(numbers.map((n) => client.mutation(add, { n }, { await: 'committed' })));
  expect(ended.at(-1)).toMatchObject({ status: 'rejected', reason: { code: 'RATE_LIMITED' } });
  expect(sent()).toEqual(numbers.slice(0, 1_000));
  client.close();
});

test.each([
  ['loaded with the client in a page', globalThis, 1],
  ['loaded later elsewhere', undefined, 0],
])('have their code %s', async (_where, window, expected) => {
  let loads = 0;
  vi.doMock('./mutations.js', (original) => {
    loads += 1;
    return original();
  });
  vi.stubGlobal('window', window);
  const { client } = await started();
  await vi.dynamicImportSettled();
  vi.unstubAllGlobals();
  expect(loads).toBe(expected);
  client.close();
});

test('are sent at once with `keepalive`, because a page that is left has no later moment', async () => {
  const { client, transport } = await started();
  const answer = client.mutation(add, { n: 1 }, { keepalive: true });
  expect(transport.calls).toMatchObject([{ kind: 'mutation', name: 'items.add', args: '{"n":1}', keepalive: true }]);
  expect(await answer).toBe(1);
  client.close();
});

test('reject, and are not sent, where the code cannot be loaded', async () => {
  vi.doMock('./mutations.js', () => {
    throw new TypeError('Failed to fetch');
  });
  const { client, sent } = await started();
  await expect(client.mutation(add, { n: 1 })).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    message: 'items.add was not sent: a part of the client could not be loaded. Try again, or reload the page.',
  });
  expect(sent()).toEqual([]);
  client.close();
});

test('reject where the client is closed before the code is loaded', async () => {
  const { client, sent } = await started();
  const answer = client.mutation(add, { n: 1 });
  client.close();
  await expect(answer).rejects.toMatchObject({ code: 'UNAVAILABLE', message: 'The client was closed.' });
  expect(sent()).toEqual([]);
});

test('are not sent where another user has signed in before the code is loaded', async () => {
  const { createConvoyClient } = await import('./client.js');
  const transport = new HandTransport();
  let user = 'ann';
  const nothing = async () => null;
  const store = { keys: async () => [], get: nothing, set: async () => {}, delete: async () => {} };
  const client = createConvoyClient({ transport, persist: { store, scope: () => user } });
  const answer = client.mutation(add, { n: 1 });
  user = 'bob';
  await expect(answer).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  expect(transport.calls).toEqual([]);
  client.close();
});
