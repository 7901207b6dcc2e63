import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type ListRow, ListServer, rowsOf } from '../../testing/list-server.js';
import type { PageResult, PaginationOptions } from '../protocol/pages.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { loadMutations } from './lazy-mutations.js';
import { loadOptimistic } from './load-optimistic.js';
import { type PaginatedQuery, type PaginatedSnapshot, paginatedQuery } from './paginated-query.js';

const list = makeQueryRef<{ paginationOpts: PaginationOptions }, PageResult<ListRow>>('rows.list');
const add = makeMutationRef<{ n: number }, null>('rows.add');

let server: ListServer;
let client: ConvoyClient;
let query: PaginatedQuery<ListRow>;
let seen: PaginatedSnapshot<ListRow>[];
let stop: () => void;

/** Watches the list of these numbers, 3 rows a page, of which `pages` are loaded. */
async function start(numbers: readonly number[], pages = 1): Promise<void> {
  server = new ListServer(rowsOf(...numbers));
  client = createConvoyClient({ transport: server.transport });
  query = paginatedQuery(client, list, {}, { initialNumItems: 3 });
  seen = [];
  stop = query.subscribe(() => seen.push(query.getSnapshot()));
  await delivered();
  for (let page = 1; page < pages; page += 1) await loadMore();
}

async function loadMore(numItems = 3): Promise<void> {
  query.loadMore(numItems);
  await delivered();
}

/** Lets the server send, and the client take in, all results. */
async function delivered(): Promise<void> {
  for (let before = -1; before !== server.transport.subscriptions.length; ) {
    before = server.transport.subscriptions.length;
    server.deliver();
    await notified();
  }
}

/** Results are notified at the next microtask. */
async function notified(): Promise<void> {
  for (let turn = 0; turn < 4; turn += 1) await Promise.resolve();
}

const shown = () => query.getSnapshot().results.map(({ n }) => n);
const numbersSeen = () => seen.map(({ results }) => results.map(({ n }) => n));
const remove = (...numbers: number[]) => {
  server.rows = server.rows.filter(({ n }) => !numbers.includes(n));
};
const insert = (...numbers: number[]) => {
  server.rows = [...server.rows, ...rowsOf(...numbers)];
};

beforeAll(loadMutations);
beforeAll(loadOptimistic);
beforeEach(() => start([]));
afterEach(() => {
  stop();
  client.close();
});

describe('loading', () => {
  test('goes page by page to the end, with one request for each page', async () => {
    await start([1, 2, 3, 4, 5, 6, 7]);
    expect(query.getSnapshot()).toMatchObject({ status: 'CanLoadMore', isLoading: false, error: null });
    expect(shown()).toEqual([1, 2, 3]);
    query.loadMore(2);
    expect(query.getSnapshot()).toMatchObject({ status: 'LoadingMore', isLoading: true });
    query.loadMore(2);
    await delivered();
    expect(shown()).toEqual([1, 2, 3, 4, 5]);
    await loadMore(3);
    expect(query.getSnapshot()).toMatchObject({ status: 'Exhausted', isLoading: false });
    expect(shown()).toEqual([1, 2, 3, 4, 5, 6, 7]);
    await loadMore();
    expect(server.transport.subscriptions).toHaveLength(3);
  });

  test('begins with `LoadingFirstPage`', () => {
    const fresh = paginatedQuery(client, list, {}, { initialNumItems: 5 });
    expect(fresh.getSnapshot()).toEqual({ results: [], status: 'LoadingFirstPage', isLoading: true, error: null });
    fresh.loadMore(5);
    expect(fresh.getSnapshot().status).toBe('LoadingFirstPage');
  });

  test('an empty list is exhausted, and shows its first rows', async () => {
    await start([]);
    expect(query.getSnapshot()).toMatchObject({ results: [], status: 'Exhausted' });
    insert(1, 2);
    await delivered();
    expect(shown()).toEqual([1, 2]);
    expect(server.transport.subscriptions).toHaveLength(1);
  });

  test('another query object shows the loaded first page at once', async () => {
    await start([1, 2, 3, 4]);
    const other = paginatedQuery(client, list, {}, { initialNumItems: 3 });
    expect(other.getSnapshot()).toMatchObject({ results: rowsOf(1, 2, 3), status: 'CanLoadMore' });
  });

  test('an unchanged list is the same object', async () => {
    await start([1, 2, 3, 4, 5, 6, 7], 2);
    const { results } = query.getSnapshot();
    insert(9);
    await delivered();
    expect(query.getSnapshot().results).toBe(results);
  });
});

describe('a loaded range', () => {
  test('keeps its rows when others come and go in it', async () => {
    await start([10, 20, 30, 40, 50, 60, 70], 2);
    insert(15, 45);
    await delivered();
    expect(shown()).toEqual([10, 15, 20, 30, 40, 45, 50, 60]);
    remove(20, 60);
    await delivered();
    expect(shown()).toEqual([10, 15, 30, 40, 45, 50]);
    expect(server.pages.some(({ endCursor }) => endCursor === '30 r30')).toBe(true);
  });

  test('keeps its end while the first page is emptied', async () => {
    await start([1, 2, 3, 4, 5, 6, 7], 2);
    remove(1, 2, 3);
    await delivered();
    expect(shown()).toEqual([4, 5, 6]);
    insert(0);
    await delivered();
    expect(shown()).toEqual([0, 4, 5, 6]);
  });

  test('shows a row that moves from page to page once, and at no time twice or never', async () => {
    await start([10, 20, 30, 40, 50, 60, 70], 2);
    for (const n of [45, 5, 55]) {
      seen = [];
      server.rows = [...server.rows.filter(({ id }) => id !== 'r20'), { id: 'r20', n }];
      await delivered();
      for (const { results } of seen) expect(results.filter(({ id }) => id === 'r20')).toHaveLength(1);
      expect(query.getSnapshot().results.find(({ id }) => id === 'r20')).toEqual({ id: 'r20', n });
    }
  });

  test('shows one version of a row whose move has arrived for one page only', async () => {
    await start([10, 20, 30, 40, 50, 60, 70], 2);
    insert(11, 41);
    await delivered();
    server.rows = [...server.rows.filter(({ id }) => id !== 'r20'), { id: 'r20', n: 45 }];
    server.deliver(({ cursor }) => cursor !== null);
    await notified();
    expect(query.getSnapshot().results.filter(({ id }) => id === 'r20')).toHaveLength(1);
    await delivered();
    expect(shown()).toEqual([10, 11, 30, 40, 41, 45, 50, 60]);
  });

  test('contains a document as often as the query returns it', async () => {
    await start([]);
    const author = { id: 'a', n: 1 };
    const twice = paginatedQuery(client, list, {}, { initialNumItems: 1 });
    const end = twice.subscribe(() => {});
    const answer = async (isDone: boolean, continueCursor: string) => {
      server.subscriptions.at(-1)?.sink.result({ page: [{ ...author }], isDone, continueCursor });
      await notified();
    };
    await answer(false, '1 a');
    twice.loadMore(1);
    await answer(true, '2 a');
    expect(twice.getSnapshot().results).toEqual([author, author]);
    end();
  });
});

describe('the end of the list', () => {
  test('shows rows that are appended, and continues with another page when the last one is full', async () => {
    await start([1, 2, 3, 4, 5], 2);
    expect(query.getSnapshot().status).toBe('Exhausted');
    insert(6);
    await delivered();
    expect(shown()).toEqual([1, 2, 3, 4, 5, 6]);
    insert(7);
    await delivered();
    expect(shown()).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(query.getSnapshot().status).toBe('Exhausted');
  });

  test('is known when the rows behind the last page are deleted', async () => {
    await start([1, 2, 3, 4]);
    remove(4);
    await delivered();
    expect(query.getSnapshot()).toMatchObject({ status: 'Exhausted', results: rowsOf(1, 2, 3) });
  });

  test('a list that has shrunk to one page is one page', async () => {
    await start([1, 2, 3, 4, 5, 6, 7], 3);
    remove(2, 3, 5, 6, 7);
    await delivered();
    expect(query.getSnapshot()).toMatchObject({ status: 'Exhausted', results: rowsOf(1, 4) });
    expect(new Set(server.pages.map(({ endCursor }) => endCursor))).toContain(undefined);
  });
});

describe('pages', () => {
  test('that have grown past twice their size are split, at once on the screen', async () => {
    await start([10, 20, 30, 40]);
    insert(11, 12, 13, 14);
    await delivered();
    const expected = [10, 11, 12, 13, 14, 20, 30];
    expect(shown()).toEqual(expected);
    expect(server.pages.filter(({ endCursor }) => endCursor === '12 r12' || endCursor === '30 r30')).toContainEqual({
      cursor: '12 r12',
      endCursor: '30 r30',
      numItems: 3,
    });
    expect(numbersSeen().every((numbers) => [[10, 20, 30].length, expected.length].includes(numbers.length))).toBe(
      true,
    );
  });

  test('that have shrunk are merged with their neighbour, at once on the screen', async () => {
    await start([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 3);
    seen = [];
    remove(4, 5);
    await delivered();
    expect(shown()).toEqual([1, 2, 3, 6, 7, 8, 9]);
    expect(numbersSeen()).toEqual([[1, 2, 3, 6, 7, 8, 9]]);
    expect(server.pages).toContainEqual({ cursor: null, endCursor: '6 r6', numItems: 3 });
  });

  test('that are short because the query drops rows cause no further requests', async () => {
    await start([]);
    const sparse = paginatedQuery(client, list, {}, { initialNumItems: 50 });
    const end = sparse.subscribe(() => {});
    const count = server.transport.subscriptions.length;
    for (let page = 1; page <= 5; page += 1) {
      server.subscriptions.at(-1)?.sink.result({ page: [], isDone: false, continueCursor: `${page} r` });
      await notified();
      expect(sparse.getSnapshot()).toMatchObject({ status: 'CanLoadMore', results: [] });
      sparse.loadMore(50);
    }
    expect(server.transport.subscriptions).toHaveLength(count + 5);
    end();
  });

  test('are watched by several listeners once, and no longer than the last of them', async () => {
    await start([1, 2, 3, 4, 5], 2);
    const other = query.subscribe(() => {});
    stop();
    insert(0);
    await delivered();
    expect(shown()).toEqual([0, 1, 2, 3, 4, 5]);
    other();
    stop = query.subscribe(() => {});
    remove(0, 4);
    await delivered();
    expect(shown()).toEqual([1, 2, 3, 5]);
  });
});

describe('errors', () => {
  const fail = async (code: ConstructorParameters<typeof ConvoyError>[0], at = -1) => {
    server.subscriptions.at(at)?.sink.failed(new ConvoyError(code, 'no'));
    await notified();
  };

  test('of the first page end loading, and `loadMore` requests it again', async () => {
    await start([1]);
    const failing = paginatedQuery(client, list, {}, { initialNumItems: 9 });
    const end = failing.subscribe(() => {});
    await fail('INTERNAL');
    expect(failing.getSnapshot()).toMatchObject({ status: 'LoadingFirstPage', isLoading: false, results: [] });
    expect(failing.getSnapshot().error).toMatchObject({ code: 'INTERNAL' });
    failing.loadMore(9);
    expect(failing.getSnapshot()).toMatchObject({ isLoading: true, error: null });
    expect(server.subscriptions.at(-1)?.refreshes).toBe(1);
    await delivered();
    expect(failing.getSnapshot()).toMatchObject({ status: 'Exhausted', results: rowsOf(1), error: null });
    end();
  });

  test('of a further page leave the others on display, and `loadMore` requests it again', async () => {
    await start([1, 2, 3, 4]);
    query.loadMore(3);
    await notified();
    await fail('TIMEOUT');
    expect(query.getSnapshot()).toMatchObject({ status: 'CanLoadMore', isLoading: false, results: rowsOf(1, 2, 3) });
    expect(query.getSnapshot().error).toMatchObject({ code: 'TIMEOUT' });
    query.loadMore(3);
    expect(query.getSnapshot()).toMatchObject({ status: 'LoadingMore', error: null });
    await delivered();
    expect(shown()).toEqual([1, 2, 3, 4]);
    expect(server.transport.subscriptions).toHaveLength(2);
  });

  test('that revoke the results of one page clear the list', async () => {
    await start([1, 2, 3, 4, 5], 2);
    await fail('FORBIDDEN', 0);
    expect(query.getSnapshot()).toMatchObject({ results: [], error: { code: 'FORBIDDEN' } });
  });

  test('of a cursor that is no longer valid make `loadMore` start again', async () => {
    await start([1, 2, 3, 4, 5], 2);
    await fail('INVALID_ARGS');
    expect(query.getSnapshot()).toMatchObject({ results: rowsOf(1, 2, 3, 4, 5), error: { code: 'INVALID_ARGS' } });
    await loadMore();
    expect(query.getSnapshot()).toMatchObject({ results: rowsOf(1, 2, 3), status: 'CanLoadMore', error: null });
  });

  test('name a query that returns no page, or ignores the end of one', async () => {
    await start([1, 2, 3, 4, 5]);
    const [first] = server.subscriptions;
    remove(1);
    server.deliver();
    await notified();
    server.subscriptions.at(-1)?.sink.result({ page: [], isDone: false, continueCursor: '4 r4' });
    await notified();
    expect(query.getSnapshot().error?.message).toMatch(/rows.list ignores paginationOpts.endCursor/);
    first?.sink.result([]);
    await notified();
    expect(query.getSnapshot().error?.message).toMatch(/rows.list does not return a page/);
  });
});

test('an optimistic update of a page is on display, and is taken back with the mutation', async () => {
  await start([10, 20, 30, 40], 2);
  server.transport.answer = () => Promise.reject(new ConvoyError('CONFLICT', 'no'));
  const done = client.mutation(
    add,
    { n: 5 },
    {
      optimistic: (store, { n }) => {
        for (const { args, value } of store.all(list)) {
          if (args.paginationOpts.cursor !== null) continue;
          store.set(list, args, { ...value, page: [{ id: 'new', n }, ...value.page] });
        }
      },
    },
  );
  await notified();
  expect(shown()).toEqual([5, 10, 20, 30, 40]);
  await expect(done).rejects.toMatchObject({ code: 'CONFLICT' });
  await notified();
  expect(shown()).toEqual([10, 20, 30, 40]);
});
