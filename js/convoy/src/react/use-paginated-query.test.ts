// @vitest-environment happy-dom
import { act, createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ListRow, ListServer, rowsOf } from '../../testing/list-server.js';
import { probe, type Screen, screen } from '../../testing/screen.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { skipToken } from '../client/skip.js';
import type { PageResult, PaginationOptions } from '../protocol/pages.js';
import { makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { ConvoyProvider } from './context.js';
import { usePaginatedQuery } from './use-paginated-query.js';

interface Args {
  room: string;
}
const list = makeQueryRef<Args & { paginationOpts: PaginationOptions }, PageResult<ListRow>>('rows.list');

let server: ListServer;
let client: ConvoyClient;
const screens: Screen[] = [];
beforeEach(() => {
  server = new ListServer(rowsOf(1, 2, 3, 4, 5, 6, 7));
  client = createConvoyClient({ transport: server.transport });
});
afterEach(async () => {
  for (const one of screens.splice(0)) await one.unmount();
  client.close();
});

interface Props {
  args: Args | typeof skipToken | 'skip';
  initialNumItems?: number;
}
const rows = () =>
  probe(({ args, initialNumItems = 3 }: Props) => usePaginatedQuery(list, args, { initialNumItems, client }));

async function mount(...[node]: Parameters<typeof screen>): Promise<Screen> {
  const mounted = await screen(node);
  screens.push(mounted);
  return mounted;
}

const delivered = async () => {
  for (let before = -1; before !== server.transport.subscriptions.length; ) {
    before = server.transport.subscriptions.length;
    await act(async () => server.deliver());
  }
};

test('loads page by page, and shows changes of all of them', async () => {
  const view = rows();
  await mount(view.with({ args: { room: 'a' } }));
  expect(view.result).toMatchObject({ results: [], status: 'LoadingFirstPage', isLoading: true, error: null });
  await delivered();
  expect(view.result).toMatchObject({ results: rowsOf(1, 2, 3), status: 'CanLoadMore', isLoading: false });
  await act(async () => view.result.loadMore(10));
  expect(view.result).toMatchObject({ results: rowsOf(1, 2, 3), status: 'LoadingMore', isLoading: true });
  await delivered();
  expect(view.result).toMatchObject({ results: server.rows, status: 'Exhausted', isLoading: false });
  server.rows = rowsOf(0, 1, 2, 4, 5, 6, 7, 8);
  await delivered();
  expect(view.result.results).toEqual(server.rows);
});

test('`loadMore` and an unchanged result are the same in each render', async () => {
  const view = rows();
  const mounted = await mount(view.with({ args: { room: 'a' } }));
  await delivered();
  const { result } = view;
  await mounted.render(view.with({ args: { room: 'a' }, initialNumItems: 5 }));
  expect(view.result).toBe(result);
  expect(server.transport.subscriptions).toHaveLength(1);
});

test('StrictMode opens one subscription for each page, and keeps the pages', async () => {
  const view = rows();
  await mount(view.inStrictMode({ args: { room: 'a' } }));
  await delivered();
  await act(async () => view.result.loadMore(3));
  await delivered();
  expect(view.result.results).toEqual(rowsOf(1, 2, 3, 4, 5, 6));
  expect(server.transport.subscriptions).toHaveLength(2);
});

test('other arguments begin with their own first page, and no render has results of the old ones', async () => {
  const view = rows();
  const mounted = await mount(view.with({ args: { room: 'a' } }));
  await delivered();
  await act(async () => view.result.loadMore(3));
  await delivered();
  const before = view.renders.length;
  await mounted.render(view.with({ args: { room: 'b' } }));
  for (const render of view.renders.slice(before)) {
    expect(render).toMatchObject({ results: [], status: 'LoadingFirstPage', isLoading: true });
  }
  await delivered();
  expect(view.result).toMatchObject({ results: rowsOf(1, 2, 3), status: 'CanLoadMore' });
});

test.each([skipToken, 'skip'] as const)('%s requests nothing until there are arguments', async (args) => {
  const view = rows();
  const mounted = await mount(view.with({ args }));
  expect(view.result).toMatchObject({ results: [], status: 'LoadingFirstPage', isLoading: false, error: null });
  await act(async () => view.result.loadMore(3));
  expect(server.transport.subscriptions).toHaveLength(0);
  await mounted.render(view.with({ args: { room: 'a' } }));
  await delivered();
  expect(view.result.results).toEqual(rowsOf(1, 2, 3));
});

test('an error is returned, and `loadMore` requests the page again', async () => {
  const view = rows();
  await mount(view.with({ args: { room: 'a' } }));
  await act(async () => server.subscriptions[0]?.sink.failed(new ConvoyError('INTERNAL', 'no')));
  expect(view.result).toMatchObject({ status: 'LoadingFirstPage', isLoading: false, error: { code: 'INTERNAL' } });
  await act(async () => view.result.loadMore(3));
  expect(view.result).toMatchObject({ isLoading: true, error: null });
  await delivered();
  expect(view.result).toMatchObject({ results: rowsOf(1, 2, 3), error: null });
});

test('a move from one page to another is one render', async () => {
  const view = rows();
  await mount(view.with({ args: { room: 'a' } }));
  await delivered();
  await act(async () => view.result.loadMore(3));
  await delivered();
  const before = view.renders.length;
  server.rows = [...rowsOf(1, 3, 4, 5, 6, 7), { id: 'r2', n: 4.5 }];
  await delivered();
  expect(view.renders.slice(before).map(({ results }) => results.map(({ n }) => n))).toEqual([[1, 3, 4, 4.5, 5, 6]]);
});

test('the server renders the loading state, of the client of the provider', () => {
  const Status = () => createElement('b', null, usePaginatedQuery(list, { room: 'a' }, { initialNumItems: 3 }).status);
  const html = renderToString(createElement(ConvoyProvider, { client }, createElement(Status)));
  expect(html).toBe('<b>LoadingFirstPage</b>');
  expect(server.transport.subscriptions).toHaveLength(0);
});
