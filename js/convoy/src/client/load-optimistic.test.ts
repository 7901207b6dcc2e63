/** The first optimistic update of a page: its code is not loaded yet. */
import { afterEach, expect, test, vi } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { until } from '../../testing/until.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { createConvoyClient } from './client.js';
import type { OptimisticStore } from './optimistic-layers.js';

const list = makeQueryRef<Record<never, never>, string[]>('items.list');
const add = makeMutationRef<{ name: string }, null>('items.add');
const optimistic = (store: OptimisticStore, { name }: { name: string }) =>
  store.set(list, {}, (names) => [...names, name]);

afterEach(() => {
  vi.resetModules();
  vi.doUnmock('./optimistic-layers.js');
  vi.restoreAllMocks();
});

/** A client whose list has arrived; `transport.answer` never answers. */
function started(create = createConvoyClient) {
  const transport = new HandTransport();
  transport.answer = () => new Promise(() => {});
  const client = create({ transport });
  const seen: (readonly string[] | null)[] = [];
  client.watch(list, {}, ({ data }) => seen.push(data));
  transport.open({}).sink.result([]);
  const sent = () => transport.calls.map(({ args }) => JSON.parse(args).name);
  return { client, transport, seen, sent };
}

test('is shown when the code is loaded, and the mutations keep the order of their calls', async () => {
  const { client, seen, sent } = started();
  for (const [name, options] of [
    ['one', { optimistic, parallel: true }],
    ['two', { parallel: true }],
    ['three', { optimistic, parallel: true }],
  ] as const) {
    client.mutation(add, { name }, options).catch(() => {});
  }
  expect(sent()).toEqual([]);
  await until(() => expect(sent()).toEqual(['one', 'two', 'three']));
  await until(() => expect(seen.at(-1)).toEqual(['one', 'three']));
  // From now on, without waiting.
  client.mutation(add, { name: 'four' }, { optimistic, parallel: true }).catch(() => {});
  expect(client.liveQuery(list, {}).getSnapshot().data).toEqual(['one', 'three', 'four']);
  client.close();
});

test('is left out where the code cannot be loaded: the mutation is sent, and the error is logged', async () => {
  const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
  vi.doMock('./optimistic-layers.js', () => {
    throw new TypeError('Failed to fetch');
  });
  vi.resetModules();
  const { createConvoyClient: create } = await import('./client.js');
  const { client, seen, sent } = started(create);
  client.mutation(add, { name: 'one' }, { optimistic }).catch(() => {});
  await until(() => expect(sent()).toEqual(['one']));
  expect(seen.at(-1)).toEqual([]);
  expect(logged).toHaveBeenCalledOnce();
  client.close();
});
