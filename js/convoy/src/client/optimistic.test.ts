/** An optimistic update… */
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { type HandSubscription, HandTransport } from '../../testing/hand-transport.js';
import { until } from '../../testing/until.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { loadMutations } from './lazy-mutations.js';
import { loadOptimistic } from './load-optimistic.js';
import type { OptimisticStore } from './optimistic-layers.js';
import { TempIds } from './temp-ids.js';
import type { MutationTracker } from './transport.js';

interface Item {
  readonly id: string;
  readonly done: boolean;
}

const list = makeQueryRef<{ of: string }, Item[]>('items.list');
const count = makeQueryRef<{ of: string }, number>('items.count');
const toggle = makeMutationRef<{ id: string }, string>('items.toggle');
const [A, B] = [{ of: 'a' }, { of: 'b' }];

const off = (id: string): Item => ({ id, done: false });
const on = (id: string): Item => ({ id, done: true });

/** Not idempotent: applied twice, it has no effect. */
const toggled = (store: OptimisticStore, { id }: { id: string }) =>
  store.set(list, A, (items) => items.map((item) => (item.id === id ? { ...item, done: !item.done } : item)));

let transport: HandTransport;
let client: ConvoyClient;
/** Every state that a listener of the list has seen. */
let seen: (readonly Item[] | null)[];

beforeAll(loadMutations);
beforeAll(loadOptimistic);
beforeEach(async () => {
  transport = new HandTransport();
  client = createConvoyClient({ transport });
  seen = [];
  client.watch(list, A, ({ data }) => seen.push(data));
  subscription(A).sink.result([off('1'), off('2')]);
  await Promise.resolve();
});
afterEach(() => {
  client.close();
  vi.restoreAllMocks();
});

const subscription = (args: unknown): HandSubscription => transport.open(args);
const shown = () => client.liveQuery(list, A).getSnapshot().data;

interface Call {
  readonly result: Promise<string>;
  readonly tracker: MutationTracker;
  resolve(): void;
  fail(error?: ConvoyError): void;
}

/** Calls the mutation, whose request the transport has when this resolves. */
async function mutate(id: string, optimistic = toggled, parallel = true): Promise<Call> {
  let [resolve, fail] = [() => {}, (_error: ConvoyError) => {}];
  transport.answer = () =>
    new Promise((answer, reject) => {
      resolve = () => answer('ok');
      fail = reject;
    });
  const sent = transport.calls.length;
  const result = client.mutation(toggle, { id }, { optimistic, parallel });
  result.catch(() => {});
  while (transport.calls.length === sent) await Promise.resolve();
  const tracker = transport.calls.at(-1)?.tracker as MutationTracker;
  tracker.tracked();
  return { result, tracker, resolve, fail: (error = new ConvoyError('CONFLICT', 'no')) => fail(error) };
}

test('is displayed at once, over each newer result, until the frame that has its changes', async () => {
  seen = [];
  const call = await mutate('1');
  expect(shown()).toEqual([on('1'), off('2')]);
  subscription(A).sink.result([off('1'), on('2')]);
  expect(shown()).toEqual([on('1'), on('2')]);
  call.resolve();
  await new Promise((resolve) => setTimeout(resolve));
  expect(shown()).toEqual([on('1'), on('2')]);
  // One frame.
  subscription(A).sink.result([on('1'), on('2')]);
  call.tracker.settled();
  expect(await call.result).toBe('ok');
  expect(shown()).toEqual([on('1'), on('2')]);
  expect(seen).toEqual([
    [on('1'), off('2')],
    [on('1'), on('2')],
    [on('1'), on('2')],
  ]);
});

test('control: dropped one frame early, it shows a reverted state', async () => {
  const call = await mutate('1');
  call.tracker.settled();
  await Promise.resolve();
  subscription(A).sink.result([on('1'), off('2')]);
  await Promise.resolve();
  expect(seen.at(-2)).toEqual([off('1'), off('2')]);
});

test('ends for each query with the result that has its changes', async () => {
  client.watch(count, A, () => {});
  const counts = transport.subscriptions.at(-1) as HandSubscription;
  counts.sink.result(0);
  const call = await mutate('1', (store, args) => {
    toggled(store, args);
    store.set(count, A, (n) => n + 1);
  });
  subscription(A);
  const listed = transport.subscriptions[0] as HandSubscription;
  listed.sink.result([on('1'), off('2')]);
  call.tracker.included([listed.sink]);
  expect(shown()).toEqual([on('1'), off('2')]);
  expect(client.liveQuery(count, A).getSnapshot().data).toBe(1);
  counts.sink.result(1);
  call.tracker.settled();
  expect(client.liveQuery(count, A).getSnapshot().data).toBe(1);
});

test('is taken back by a failure, and only its own effect', async () => {
  const [first, second, third] = [await mutate('1'), await mutate('2'), await mutate('1')];
  expect(shown()).toEqual([off('1'), on('2')]);
  second.fail();
  await expect(second.result).rejects.toMatchObject({ code: 'CONFLICT' });
  expect(shown()).toEqual([off('1'), off('2')]);
  third.fail();
  await expect(third.result).rejects.toMatchObject({ code: 'CONFLICT' });
  expect(shown()).toEqual([on('1'), off('2')]);
  expect(first).toBeDefined();
});

test('stays over results that may or may not have its changes, where the connection was lost', async () => {
  const call = await mutate('1');
  call.tracker.lost();
  // The next session begins with a result that has the changes already.
  subscription(A).sink.result([on('1'), on('2')]);
  expect(shown()).toEqual([on('1'), off('2')]);
  call.resolve();
  await until(() => expect(subscription(A).refreshes).toBe(1));
  expect(shown()).toEqual([on('1'), off('2')]);
  subscription(A).sink.result([on('1'), on('2')]);
  expect(await call.result).toBe('ok');
  expect(shown()).toEqual([on('1'), on('2')]);
});

test('ends where the next session reports the repeated request', async () => {
  const call = await mutate('1');
  call.tracker.lost();
  call.tracker.tracked();
  subscription(A).sink.result([on('1'), on('2')]);
  expect(shown()).toEqual([on('1'), off('2')]);
  call.tracker.settled();
  expect(shown()).toEqual([on('1'), on('2')]);
  call.resolve();
  expect(await call.result).toBe('ok');
  expect(subscription(A).refreshes).toBe(0);
});

test('of a mutation that settles while another keeps the query frozen ends with that', async () => {
  const [lost, other] = [await mutate('1'), await mutate('2')];
  lost.tracker.lost();
  subscription(A).sink.result([off('1'), on('2')]);
  other.tracker.settled();
  expect(shown()).toEqual([on('1'), on('2')]);
  lost.fail();
  await expect(lost.result).rejects.toMatchObject({ code: 'CONFLICT' });
  expect(shown()).toEqual([off('1'), on('2')]);
});

test('is over results that arrive before its request is sent', async () => {
  const first = await mutate('2', () => {}, false);
  const second = client.mutation(toggle, { id: '1' }, { optimistic: toggled });
  second.catch(() => {});
  subscription(A).sink.result([off('1'), on('2')]);
  expect(shown()).toEqual([on('1'), on('2')]);
  expect(transport.calls).toHaveLength(1);
  first.fail();
});

test('changes nothing where no result is cached', async () => {
  const results: unknown[] = [];
  await mutate('1', (store) => {
    results.push(store.get(list, B), store.all(list));
    store.set(list, B, [on('9')]);
  });
  expect(results).toEqual([undefined, [{ args: A, value: [off('1'), off('2')] }]]);
  expect(client.liveQuery(list, B).getSnapshot().status).toBe('pending');
});

test('may change its copies in place', async () => {
  const call = await mutate('1', (store) => {
    const items = store.get(list, A) as { id: string; done: boolean }[];
    for (const item of items) item.done = true;
    store.set(list, A, (previous) => {
      previous.reverse();
      return previous;
    });
  });
  expect(shown()).toEqual([off('2'), off('1')]);
  call.fail();
  await expect(call.result).rejects.toThrow();
  expect(shown()).toEqual([off('1'), off('2')]);
});

test('keeps the identity of what it does not change', async () => {
  const before = shown();
  await mutate('1');
  expect(shown()?.[1]).toBe(before?.[1]);
  const during = shown();
  subscription(A).sink.connection({ connectionState: 'open', isReconnecting: false });
  expect(shown()).toBe(during);
});

test('that throws when called sends nothing', async () => {
  const thrown = new Error('a defect');
  const optimistic = () => {
    throw thrown;
  };
  await expect(client.mutation(toggle, { id: '1' }, { optimistic })).rejects.toBe(thrown);
  expect(transport.calls).toEqual([]);
  await expect(
    client.mutation(toggle, { id: '1' }, { optimistic: (store) => store.set(list, A, () => undefined as never) }),
  ).rejects.toThrow(TypeError);
  expect(shown()).toEqual([off('1'), off('2')]);
});

test('that throws later has no effect, and the others have', async () => {
  const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
  await mutate('1', (store, args) => {
    toggled(store, args);
    if (store.get(list, A)?.length === 3) throw new Error('a defect');
  });
  await mutate('2');
  subscription(A).sink.result([off('1'), off('2'), off('3')]);
  subscription(A).sink.result([off('1'), off('2'), on('3')]);
  expect(shown()).toEqual([off('1'), on('2'), on('3')]);
  subscription(A).sink.result([off('1'), on('3'), on('4')]);
  expect(shown()).toEqual([off('1'), on('3'), on('4')]);
  expect(logged).toHaveBeenCalledOnce();
});

test('leaves nothing behind', async () => {
  const call = await mutate('1');
  call.resolve();
  call.tracker.settled();
  await call.result;
  subscription(A).sink.result([off('1')]);
  expect(shown()).toEqual([off('1')]);
  subscription(A).sink.failed(new ConvoyError('FORBIDDEN', 'no'));
  expect(client.liveQuery(list, A).getSnapshot()).toMatchObject({ status: 'error', data: null });
});

test('gives a new document an id that has the key of the real one, also before the response', async () => {
  const create = makeMutationRef<{ of: string }, string>('items.create');
  const done = makeMutationRef<{ ids: string[] }, null>('items.done');
  let resolve = (_id: string) => {};
  transport.answer = () =>
    new Promise((answer) => {
      resolve = answer;
    });
  const optimistic = (store: OptimisticStore) =>
    store.set(list, A, (items) => [...items, { id: store.tempId('items'), done: false }]);
  const result = client.mutation(create, A, { optimistic });
  const temporary = shown()?.[2]?.id as string;
  subscription(A).sink.result([off('1'), on('2')]);
  expect(shown()?.[2]?.id).toBe(temporary);
  await until(() => expect(transport.calls).toHaveLength(1));
  // A call that uses the document already: it is sent when the real id is known.
  const next = client.mutation(done, { ids: [temporary, 'items:7'] });
  const { tracker } = transport.calls[0] as { tracker: MutationTracker };
  tracker.tracked();
  subscription(A).sink.result([off('1'), on('2'), off('items:1')]);
  tracker.settled('items:1');
  expect(shown()?.map(({ id }) => client.keyOf(id))).toEqual(['1', '2', temporary]);
  resolve('items:1');
  expect(await result).toBe('items:1');
  await until(() => expect(transport.calls).toHaveLength(2));
  expect(transport.calls[1]?.args).toBe('{"ids":["items:1","items:7"]}');
  resolve('');
  await next;
});

test('leaves the key of a document that is displayed before its id is known in the result', async () => {
  const create = makeMutationRef<{ of: string }, { id: string }>('items.create');
  let resolve = () => {};
  transport.answer = () =>
    new Promise((answer) => {
      resolve = () => answer({ id: 'items:1' });
    });
  const optimistic = (store: OptimisticStore) => store.set(list, A, [{ id: store.tempId('items'), done: false }]);
  const result = client.mutation(create, A, { optimistic });
  await until(() => expect(transport.calls).toHaveLength(1));
  const { tracker } = transport.calls[0] as { tracker: MutationTracker };
  tracker.tracked();
  subscription(A).sink.result([off('items:1')]);
  tracker.settled();
  resolve();
  await result;
  expect(client.keyOf('items:1')).toBe('items:1');
});

test('is applied once where its changes are included before another mutation freezes the query', async () => {
  const [included, lost] = [await mutate('1'), await mutate('2')];
  subscription(A).sink.result([on('1'), off('2')]);
  included.tracker.included([subscription(A).sink]);
  lost.tracker.lost();
  subscription(A).sink.result([on('1'), on('2')]);
  expect(shown()).toEqual([on('1'), on('2')]);
});

test('stays until a repeated query is answered, where the mutation settles before', async () => {
  const call = await mutate('1');
  const refetched = client.liveQuery(list, A).refetch();
  // The result with the changes was for the subscription before.
  call.tracker.settled();
  expect(shown()).toEqual([on('1'), off('2')]);
  subscription(A).sink.result([on('1'), on('2')]);
  expect(shown()).toEqual([on('1'), on('2')]);
  await refetched;
});

test('stays where a failure is the first answer after the mutation', async () => {
  const call = await mutate('1');
  call.tracker.lost();
  call.resolve();
  await until(() => expect(subscription(A).refreshes).toBe(1));
  subscription(A).sink.failed(new ConvoyError('TIMEOUT', 'it took too long'));
  expect(shown()).toEqual([on('1'), off('2')]);
  subscription(A).sink.result([on('1'), off('2')]);
  expect(await call.result).toBe('ok');
  expect(shown()).toEqual([on('1'), off('2')]);
});

test('keeps no query frozen for another that is not answered', async () => {
  client.watch(count, A, () => {});
  const counts = transport.subscriptions.at(-1) as HandSubscription;
  counts.sink.result(0);
  const listed = transport.subscriptions[0] as HandSubscription;
  const call = await mutate('1', (store, args) => {
    toggled(store, args);
    store.set(count, A, (n) => n + 1);
  });
  call.tracker.lost();
  call.resolve();
  await until(() => expect(listed.refreshes).toBe(1));
  listed.sink.result([on('1'), on('2')]);
  expect(shown()).toEqual([on('1'), on('2')]);
  expect(client.liveQuery(count, A).getSnapshot().data).toBe(1);
});

test('loses no result that arrives before a failure', async () => {
  const call = await mutate('1');
  call.tracker.lost();
  subscription(A).sink.result([off('1'), on('2')]);
  subscription(A).sink.failed(new ConvoyError('INTERNAL', 'a defect'));
  subscription(A).sink.same();
  call.fail();
  await expect(call.result).rejects.toThrow();
  expect(client.liveQuery(list, A).getSnapshot()).toMatchObject({ status: 'success', data: [off('1'), on('2')] });
});

test('has its own copy of the arguments', async () => {
  const args = { id: '1' };
  client.mutation(toggle, args, { optimistic: toggled }).catch(() => {});
  args.id = '2';
  subscription(A).sink.result([off('1'), off('2'), off('3')]);
  expect(shown()).toEqual([on('1'), off('2'), off('3')]);
});

test('can neither call mutations nor be asynchronous', async () => {
  const nested: unknown[] = [];
  const options = {
    optimistic: () => void client.mutation(toggle, { id: '2' }).catch((error) => nested.push(error)),
    parallel: true,
  };
  client.mutation(toggle, { id: '1' }, options).catch(() => {});
  await until(() => expect(nested).toMatchObject([{ name: 'TypeError' }]));
  expect(transport.calls.map(({ args }) => args)).toEqual(['{"id":"1"}']);
  const optimistic = (async () => Promise.reject(new Error('a defect'))) as () => void;
  await expect(client.mutation(toggle, { id: '1' }, { optimistic })).rejects.toThrow('asynchronous');
});

test('of a new document, changed at once, applies to the real one too', async () => {
  const create = makeMutationRef<{ of: string }, Item>('items.create');
  transport.answer = () => new Promise(() => {});
  const created = (store: OptimisticStore) => store.set(list, A, [{ id: store.tempId('items'), done: false }]);
  client.mutation(create, A, { optimistic: created, parallel: true }).catch(() => {});
  await until(() => expect(transport.calls).toHaveLength(1));
  const id = shown()?.[0]?.id as string;
  client.mutation(toggle, { id }, { optimistic: toggled }).catch(() => {});
  expect(shown()).toEqual([{ id, done: true }]);
  const { tracker } = transport.calls[0] as { tracker: MutationTracker };
  tracker.tracked();
  subscription(A).sink.result([off('items:1')]);
  tracker.settled(off('items:1'));
  expect(shown()).toEqual([on('items:1')]);
});

test.each([
  ['an id', 'items:1', ['items:1']],
  ['a document with references', { parent: 'items:7', id: 'items:1' }, ['items:1']],
  ['a list of documents', [{ id: 'items:1', parent: 'items:7' }, { id: 'items:2' }], ['items:1', 'items:2']],
  ['ids of other tables', ['others:1', 'items:1'], ['items:1']],
  ['a text in a document', { text: 'items:7' }, []],
])('finds the real ids in %s', (_result, result, found) => {
  const ids = new TempIds();
  const temporary = [TempIds.create('items'), TempIds.create('items')];
  ids.resolve(temporary, result, false);
  ids.resolve(temporary, result, false);
  const args = JSON.stringify(temporary);
  expect(JSON.parse(ids.replaceIn(args))).toEqual([...found, ...temporary.slice(found.length)]);
  expect(TempIds.isIn(ids.replaceIn(args))).toBe(found.length < 2);
});

test('of a document that was not created sends nothing that needs it', async () => {
  const create = makeMutationRef<{ of: string }, string>('items.create');
  let id = '';
  const created = (store: OptimisticStore) => {
    id = store.tempId('items');
  };
  transport.answer = () => Promise.reject(new ConvoyError('CONFLICT', 'no'));
  await expect(client.mutation(create, A, { optimistic: created })).rejects.toMatchObject({ code: 'CONFLICT' });
  await expect(client.mutation(toggle, { id })).rejects.toMatchObject({ code: 'INVALID_ARGS' });
  expect(transport.calls).toHaveLength(1);
});
