import { type Collection, createCollection, createLiveQueryCollection, eq, gt } from '@tanstack/db';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { listenersOf } from '../../testing/listeners.js';
import { until } from '../../testing/until.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { loadMutations } from '../client/lazy-mutations.js';
import type { CallRequest } from '../client/transport.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { convoyCollectionOptions } from './index.js';

beforeAll(loadMutations);

interface Message {
  id: string;
  body: string;
}

const list = makeQueryRef<{ room: string }, Message[]>('messages.list');
const page = makeQueryRef<{ room: string }, { page: Message[] }>('messages.page');
const since = makeQueryRef<{ n: number }, { id: string; n: number }[]>('numbers.since');
const send = makeMutationRef<Message, null>('messages.send');

const hall = { room: 'hall' };
const a = { id: 'a', body: 'one' };
const b = { id: 'b', body: 'two' };
const c = { id: 'c', body: 'three' };

let transport: HandTransport;
let client: ConvoyClient;
let listeners: { readonly count: number };
const collections: { cleanup(): Promise<void> }[] = [];

beforeEach(() => {
  transport = new HandTransport();
  client = createConvoyClient({ transport });
  listeners = listenersOf(client);
});
afterEach(async () => {
  for (const collection of collections.splice(0).reverse()) await collection.cleanup();
  client.close();
  vi.restoreAllMocks();
});

function owned<Each extends { cleanup(): Promise<void> }>(collection: Each): Each {
  collections.push(collection);
  return collection;
}

type Options = Parameters<typeof convoyCollectionOptions<typeof list>>[0];

const messagesOf = (options: Pick<Options, 'select' | 'onInsert' | 'onDelete'> = {}) =>
  owned(createCollection(convoyCollectionOptions({ query: list, args: hall, client, ...options })));

/** The changes of a collection, and the bodies that it has after each of them. */
function recorded<Row extends Message>(collection: Collection<Row, string>) {
  const changes: string[][] = [];
  const states: string[][] = [];
  const subscription = collection.subscribeChanges((batch) => {
    // Empty where the collection becomes ready.
    if (batch.length === 0) return;
    changes.push(batch.map(({ type, key }) => `${type} ${key}`));
    states.push(collection.toArray.map(({ body }) => body).sort());
  });
  return { changes, states, stop: () => subscription.unsubscribe() };
}

/** Runs what follows from `change` in microtasks. */
async function settle(change: () => void = () => {}): Promise<void> {
  change();
  await new Promise((resolve) => setTimeout(resolve, 0));
}

const receive = (data: unknown, args: unknown = hall) => settle(() => transport.open(args).sink.result(data));
const fail = (code: 'INTERNAL' | 'FORBIDDEN', args: unknown = hall) =>
  settle(() => transport.open(args).sink.failed(new ConvoyError(code, 'no')));
const bodies = (collection: { readonly toArray: Message[] }) => collection.toArray.map(({ body }) => body).sort();

describe('a collection', () => {
  test('is ready with the first result', async () => {
    const messages = messagesOf();
    const ready = messages.preload();
    expect(messages.status).toBe('loading');
    await receive([a, b]);
    await ready;
    expect(messages.get('a')).toMatchObject(a);
    expect(bodies(messages)).toEqual(['one', 'two']);
  });

  test('is ready with an empty result', async () => {
    const messages = messagesOf();
    const ready = messages.preload();
    await receive([]);
    await ready;
    expect(messages.size).toBe(0);
  });

  test('writes only the rows that differ, in one transaction for each result', async () => {
    const messages = messagesOf();
    const { changes } = recorded(messages);
    await receive([a, b]);
    await receive([b, { ...a, body: 'uno' }]);
    await receive([{ ...b }, c]);
    await receive([c, b]);
    expect(changes).toEqual([['insert a', 'insert b'], ['update a'], ['delete a', 'insert c']]);
  });

  test('has the current result at once where another listener has it', async () => {
    const stop = client.watch(list, hall, () => {});
    await receive([a]);
    const messages = messagesOf();
    await messages.preload();
    expect(bodies(messages)).toEqual(['one']);
    expect(transport.subscriptions).toHaveLength(1);
    stop();
  });

  test('ends its live query with `cleanup`, and starts again', async () => {
    const messages = messagesOf();
    void messages.preload();
    await receive([a, b]);
    expect(listeners.count).toBe(1);
    await messages.cleanup();
    expect(listeners.count).toBe(0);
    expect(messages.size).toBe(0);
    const ready = messages.preload();
    await ready;
    expect(bodies(messages)).toEqual(['one', 'two']);
    await receive([b]);
    expect(bodies(messages)).toEqual(['two']);
  });

  test('takes the rows out of another result by `select`', async () => {
    const messages = owned(
      createCollection(
        convoyCollectionOptions({
          query: page,
          args: hall,
          client,
          select: (result) => result.page,
          getKey: (row) => row.body,
        }),
      ),
    );
    const ready = messages.preload();
    await receive({ page: [a, b] });
    await ready;
    expect([...messages.keys()]).toEqual(['one', 'two']);
  });

  test('compares rows that `select` makes by value', async () => {
    const messages = messagesOf({ select: (rows) => rows.map((row) => ({ ...row, at: new Date(row.body.length) })) });
    const { changes } = recorded(messages);
    await receive([a]);
    await receive([a, b]);
    expect(changes).toEqual([['insert a'], ['insert b']]);
  });
});

describe('an error', () => {
  test('before the first result rejects `preload`, and a later result recovers', async () => {
    const messages = messagesOf();
    const ready = messages.preload();
    const rejected = expect(ready).rejects.toMatchObject({ code: 'INTERNAL' });
    await fail('INTERNAL');
    await rejected;
    expect(messages.status).toBe('error');
    expect(messages.utils.error).toMatchObject({ code: 'INTERNAL' });
    await receive([a]);
    expect(messages.status).toBe('ready');
    expect(messages.utils.error).toBeNull();
    expect(bodies(messages)).toEqual(['one']);
  });

  test('after a result keeps the rows, unless the caller may not see them any more', async () => {
    const messages = messagesOf();
    void messages.preload();
    await receive([a]);
    await fail('INTERNAL');
    expect([messages.status, bodies(messages)]).toEqual(['error', ['one']]);
    await settle(() => transport.open(hall).sink.same());
    expect([messages.status, bodies(messages)]).toEqual(['ready', ['one']]);
    await fail('FORBIDDEN');
    expect([messages.status, bodies(messages)]).toEqual(['error', []]);
  });

  test.each([
    ['a result that is no list', { page: [] }, /The result of messages\.list is not a list\. Pass `select`/],
    ['a row without a key', [{ body: 'one' }], /A row of messages\.list has no key\. Pass `getKey`/],
  ])('says what to do about %s', async (_, result, message) => {
    const messages = messagesOf();
    const rejected = expect(messages.preload()).rejects.toThrow(message);
    await receive(result);
    await rejected;
  });
});

describe('a mutation', () => {
  /** The calls of mutations, each answered by the test. */
  function answers() {
    const calls: { request: CallRequest; respond(result: unknown): void; refuse(error: ConvoyError): void }[] = [];
    transport.answer = (request) =>
      new Promise((resolve, reject) => calls.push({ request, respond: resolve, refuse: reject }));
    return calls;
  }

  const sending = () =>
    messagesOf({
      onInsert: async ({ transaction }) => {
        for (const { modified } of transaction.mutations)
          await client.mutation(send, { id: modified.id, body: modified.body });
      },
      onDelete: async () => {
        await client.mutation(send, c);
      },
    });

  test('shows its row from the call on, without a state in which it is missing', async () => {
    const calls = answers();
    const messages = sending();
    const { changes, states } = recorded(messages);
    await receive([a]);
    const sent = messages.insert(b);
    await until(() => expect(calls).toHaveLength(1));
    const [call] = calls;
    call?.request.tracker?.tracked();
    await settle(() => call?.respond(null));
    // The result and the report that it has the changes are in one frame.
    await settle(() => {
      transport.open(hall).sink.result([a, b]);
      call?.request.tracker?.settled();
    });
    await sent.isPersisted.promise;
    await settle();
    expect(states.slice(1).every((state) => state.includes('two'))).toBe(true);
    expect(bodies(messages)).toEqual(['one', 'two']);
    expect(changes.flat().filter((change) => change.startsWith('delete'))).toEqual([]);
    await receive([a]);
    expect(bodies(messages)).toEqual(['one']);
  });

  test('that fails takes its row back', async () => {
    const calls = answers();
    const messages = sending();
    const { states } = recorded(messages);
    await receive([a]);
    const sent = messages.insert(b);
    const rejected = expect(sent.isPersisted.promise).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await until(() => expect(calls).toHaveLength(1));
    await settle(() => calls[0]?.refuse(new ConvoyError('FORBIDDEN', 'no')));
    await rejected;
    expect(states).toEqual([['one'], ['one', 'two'], ['one']]);
  });

  test('that deletes hides its row until the result has it no more', async () => {
    const calls = answers();
    const messages = sending();
    const { states } = recorded(messages);
    await receive([a, b]);
    const sent = messages.delete('a');
    await until(() => expect(calls).toHaveLength(1));
    calls[0]?.request.tracker?.tracked();
    await settle(() => calls[0]?.respond(null));
    await settle(() => {
      transport.open(hall).sink.result([b]);
      calls[0]?.request.tracker?.settled();
    });
    await sent.isPersisted.promise;
    expect(states).toEqual([['one', 'two'], ['two']]);
  });

  test('keeps its row while the connection is lost, until it is back', async () => {
    const calls = answers();
    const messages = sending();
    const { states } = recorded(messages);
    const { sink } = transport.open(hall);
    sink.connection({ connectionState: 'open', isReconnecting: false });
    await receive([a]);
    const sent = messages.insert(b);
    await until(() => expect(calls).toHaveLength(1));
    calls[0]?.request.tracker?.tracked();
    await settle(() => sink.connection({ connectionState: 'connecting', isReconnecting: true }));
    calls[0]?.request.tracker?.lost();
    await settle(() => calls[0]?.respond(null));
    expect(sent.state).toBe('persisting');
    await settle(() => {
      sink.connection({ connectionState: 'open', isReconnecting: false });
      sink.result([a, b]);
    });
    await sent.isPersisted.promise;
    expect(states.slice(1).every((state) => state.includes('two'))).toBe(true);
    expect(bodies(messages)).toEqual(['one', 'two']);
  });
});

describe('on demand', () => {
  const numbersOf = () =>
    owned(
      createCollection(
        convoyCollectionOptions({
          query: since,
          client,
          syncMode: 'on-demand',
          args: ({ where }) => {
            const [, bound] = where?.type === 'func' ? where.args : [];
            return { n: bound?.type === 'val' ? Number(bound.value) : 0 };
          },
        }),
      ),
    );
  const above = (numbers: ReturnType<typeof numbersOf>, n: number) =>
    owned(createLiveQueryCollection((q) => q.from({ row: numbers }).where(({ row }) => gt(row.n, n))));
  const rows = (...numbers: number[]) => numbers.map((n) => ({ id: String(n), n }));
  const keys = (collection: { keys(): Iterable<unknown> }) => [...collection.keys()].sort();

  test('each subset is one live query, which equal subsets share', async () => {
    const numbers = numbersOf();
    const first = above(numbers, 5);
    const second = above(numbers, 5);
    const third = above(numbers, 1);
    const ready = Promise.all([first, second, third].map((each) => each.preload()));
    await until(() => expect(listeners.count).toBe(2));
    await receive(rows(6, 7), { n: 5 });
    await receive(rows(2, 6, 7), { n: 1 });
    await ready;
    expect([first, second, third].map(keys)).toEqual([
      ['6', '7'],
      ['6', '7'],
      ['2', '6', '7'],
    ]);
    await receive(rows(7, 8), { n: 5 });
    expect(keys(first)).toEqual(['6', '7', '8']);
    await receive(rows(2, 7, 8), { n: 1 });
    expect(keys(third)).toEqual(['2', '7', '8']);
  });

  test('a subset that is released leaves, except for rows of others', async () => {
    const numbers = numbersOf();
    const few = above(numbers, 5);
    const many = above(numbers, 1);
    const ready = Promise.all([few.preload(), many.preload()]);
    await until(() => expect(listeners.count).toBe(2));
    await receive(rows(6), { n: 5 });
    await receive(rows(2, 6), { n: 1 });
    await ready;
    await many.cleanup();
    expect(keys(numbers)).toEqual(['6']);
    expect(listeners.count).toBe(1);
    await few.cleanup();
    expect(keys(numbers)).toEqual([]);
    expect(listeners.count).toBe(0);
  });

  test('a row that moves from one subset to another is never missing', async () => {
    const byN = makeQueryRef<{ n: number }, { id: string; n: number }[]>('numbers.equal');
    const numbers = owned(
      createCollection(
        convoyCollectionOptions({
          query: byN,
          client,
          syncMode: 'on-demand',
          args: ({ where }) => ({
            n: where?.type === 'func' && where.args[1]?.type === 'val' ? where.args[1].value : 0,
          }),
        }),
      ),
    );
    const equal = (n: number) =>
      owned(createLiveQueryCollection((q) => q.from({ row: numbers }).where(({ row }) => eq(row.n, n))));
    const ready = Promise.all([equal(1).preload(), equal(2).preload()]);
    await until(() => expect(listeners.count).toBe(2));
    await receive([{ id: 'x', n: 1 }], { n: 1 });
    await receive([], { n: 2 });
    await ready;
    const seen: string[] = [];
    const record = (changes: readonly { type: string; key: unknown }[]) =>
      seen.push(...changes.map(({ type, key }) => `${type} ${key}`));
    numbers.subscribeChanges(record, { includeInitialState: true });
    seen.length = 0;
    await settle(() => {
      transport.open({ n: 1 }).sink.result([]);
      transport.open({ n: 2 }).sink.result([{ id: 'x', n: 2 }]);
    });
    expect(seen).toEqual(['update x']);
  });

  test('a subset whose query fails rejects, and the others go on', async () => {
    const numbers = numbersOf();
    const bad = above(numbers, 5);
    const good = above(numbers, 1);
    const rejected = expect(bad.preload()).rejects.toThrow();
    const ready = good.preload();
    await until(() => expect(listeners.count).toBe(2));
    await fail('INTERNAL', { n: 5 });
    await receive(rows(2), { n: 1 });
    await rejected;
    await ready;
    expect(keys(good)).toEqual(['2']);
    expect(numbers.utils.error).toMatchObject({ code: 'INTERNAL' });
  });
});
