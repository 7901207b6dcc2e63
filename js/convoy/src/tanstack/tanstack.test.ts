// @vitest-environment happy-dom
import {
  dehydrate,
  hydrate,
  notifyManager,
  QueryClient,
  QueryClientProvider,
  skipToken as tanstackSkipToken,
  useMutation,
  useQuery,
  useSuspenseQuery,
} from '@tanstack/react-query';
import { act, Component, createElement, type ReactNode, Suspense } from 'react';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { listenersOf } from '../../testing/listeners.js';
import { probe, type Screen, screen } from '../../testing/screen.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { loadMutations } from '../client/lazy-mutations.js';
import { loadOptimistic } from '../client/load-optimistic.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { mutationOptions, provideConvoy, queryOptions, skipToken } from './index.js';

const list = makeQueryRef<{ room: string }, string[]>('messages.list');
const send = makeMutationRef<{ room: string; body: string }, null>('messages.send');

const hall = queryOptions(list, { room: 'hall' });
const attic = queryOptions(list, { room: 'attic' });

let transport: HandTransport;
let client: ConvoyClient;
let listeners: { readonly count: number };
let queryClient: QueryClient;
const mounted: Screen[] = [];

// By default they notify components in a timer, and only of the properties that they have read.
notifyManager.setScheduler(queueMicrotask);
const newQueryClient = () => new QueryClient({ defaultOptions: { queries: { notifyOnChangeProps: 'all' } } });

beforeAll(loadMutations);
beforeAll(loadOptimistic);
beforeEach(() => {
  transport = new HandTransport();
  client = createConvoyClient({ transport });
  listeners = listenersOf(client);
  queryClient = newQueryClient();
  provideConvoy(queryClient, client);
});
afterEach(async () => {
  for (const each of mounted.splice(0)) await each.unmount();
  queryClient.clear();
  client.close();
});

const provided = (node: ReactNode) => createElement(QueryClientProvider, { client: queryClient }, node);

async function mount(node: ReactNode) {
  const page = await screen(provided(node));
  mounted.push(page);
  return { ...page, render: (next: ReactNode) => page.render(provided(next)) };
}

/** Runs `change`, and renders what follows from it in microtasks. */
async function settle(change: () => void = () => {}): Promise<void> {
  await act(async () => {
    change();
    await new Promise((resolve) => setTimeout(resolve, 0));
  });
}

const receive = (args: unknown, data: unknown) => settle(() => transport.open(args).sink.result(data));
const fail = (args: unknown, code: 'INTERNAL' | 'FORBIDDEN') =>
  settle(() => transport.open(args).sink.failed(new ConvoyError(code, 'no')));

describe('a query', () => {
  test('resolves with the first result, and shows later ones', async () => {
    const view = probe(() => useQuery(hall));
    await mount(view.with({}));
    expect(view.result).toMatchObject({ status: 'pending', fetchStatus: 'fetching' });
    await receive({ room: 'hall' }, ['a']);
    expect(view.result).toMatchObject({ data: ['a'], fetchStatus: 'idle', isStale: false });
    await receive({ room: 'hall' }, ['a', 'b']);
    expect(view.result).toMatchObject({ data: ['a', 'b'], fetchStatus: 'idle', isStale: false });
    expect(view.renders.filter(({ isFetching }) => isFetching)).toHaveLength(1);
    expect(transport.subscriptions).toHaveLength(1);
  });

  test('has one live query for all its observers, and none without them', async () => {
    const view = probe(() => [useQuery(hall), useQuery(queryOptions(list, { room: 'hall' }))]);
    const page = await mount(view.inStrictMode({}));
    await receive({ room: 'hall' }, ['a']);
    expect(view.result.map(({ data }) => data)).toEqual([['a'], ['a']]);
    expect(listeners.count).toBe(1);
    await page.render(null);
    expect(listeners.count).toBe(0);
  });

  test('follows its arguments', async () => {
    const view = probe(({ room }: { room: string }) => useQuery(queryOptions(list, { room })));
    const page = await mount(view.with({ room: 'hall' }));
    await receive({ room: 'hall' }, ['a']);
    await page.render(view.with({ room: 'attic' }));
    expect(view.result.data).toBeUndefined();
    await receive({ room: 'attic' }, ['z']);
    expect(view.result.data).toEqual(['z']);
    expect(listeners.count).toBe(1);
  });

  test('ends when it is observed no more before its first result', async () => {
    const view = probe(() => useQuery(hall));
    const page = await mount(view.with({}));
    expect(listeners.count).toBe(1);
    await page.render(null);
    await settle();
    expect(listeners.count).toBe(0);
    expect(queryClient.getQueryState(hall.queryKey)).toMatchObject({ status: 'pending', fetchStatus: 'idle' });
  });

  test('is live again when a component observes its cached result, which is shown meanwhile', async () => {
    const view = probe(() => useQuery(hall));
    const page = await mount(view.with({}));
    await receive({ room: 'hall' }, ['a']);
    await page.render(null);
    await page.render(view.with({}));
    expect(view.result.data).toEqual(['a']);
    expect(listeners.count).toBe(1);
    await receive({ room: 'hall' }, ['b']);
    expect(view.result).toMatchObject({ data: ['b'], fetchStatus: 'idle' });
  });

  test('ends when it is removed from the cache', async () => {
    const view = probe(() => useQuery(hall));
    await mount(view.with({}));
    await receive({ room: 'hall' }, ['a']);
    queryClient.removeQueries({ queryKey: hall.queryKey });
    expect(listeners.count).toBe(0);
  });

  test('does not run while it is skipped or disabled, and ends when it becomes so', async () => {
    const view = probe(({ enabled }: { enabled: boolean }) => [
      useQuery(queryOptions(list, skipToken)),
      useQuery(queryOptions(list, tanstackSkipToken)),
      useQuery({ ...hall, enabled }),
    ]);
    const page = await mount(view.with({ enabled: false }));
    expect(view.result.map(({ fetchStatus }) => fetchStatus)).toEqual(['idle', 'idle', 'idle']);
    expect(listeners.count).toBe(0);
    await page.render(view.with({ enabled: true }));
    await receive({ room: 'hall' }, ['a']);
    expect(view.result[2]?.data).toEqual(['a']);
    await page.render(view.with({ enabled: false }));
    await settle();
    expect(listeners.count).toBe(0);
  });

  test('is requested again by `refetch` and `invalidateQueries`', async () => {
    const view = probe(() => useQuery(hall));
    await mount(view.with({}));
    await receive({ room: 'hall' }, ['a']);
    let refetched: Promise<{ data: string[] | undefined }> | undefined;
    await settle(() => {
      refetched = view.result.refetch();
    });
    expect([view.result.isFetching, transport.open({ room: 'hall' }).refreshes]).toEqual([true, 1]);
    await receive({ room: 'hall' }, ['b']);
    expect(await refetched).toMatchObject({ data: ['b'] });
    await settle(() => void queryClient.invalidateQueries());
    expect(transport.open({ room: 'hall' }).refreshes).toBe(2);
    await settle(() => transport.open({ room: 'hall' }).sink.same());
    expect(view.result).toMatchObject({ data: ['b'], isFetching: false, isStale: false });
    expect(listeners.count).toBe(1);
  });

  test('keeps the identity of unchanged data', async () => {
    const view = probe(() => useQuery(hall));
    await mount(view.with({}));
    const data = ['a'];
    await receive({ room: 'hall' }, data);
    expect(view.result.data).toBe(data);
  });
});

describe('an error', () => {
  test('before the first result is the error of the query, without retries, until there is a result', async () => {
    const view = probe(() => useQuery(hall));
    await mount(view.with({}));
    await fail({ room: 'hall' }, 'INTERNAL');
    expect(view.result).toMatchObject({ status: 'error', error: { code: 'INTERNAL' }, fetchStatus: 'idle' });
    await receive({ room: 'hall' }, ['a']);
    expect(view.result).toMatchObject({ status: 'success', data: ['a'], error: null });
  });

  test('after a result keeps that result, except from callers who may no longer see it', async () => {
    const view = probe(() => useQuery(hall));
    await mount(view.with({}));
    await receive({ room: 'hall' }, ['a']);
    await fail({ room: 'hall' }, 'INTERNAL');
    expect(view.result).toMatchObject({ status: 'error', data: ['a'], error: { code: 'INTERNAL' } });
    await fail({ room: 'hall' }, 'FORBIDDEN');
    expect(view.result).toMatchObject({ status: 'error', error: { code: 'FORBIDDEN' } });
    expect(view.result.data).toBeUndefined();
  });

  test('of a refetch takes the result from callers who may no longer see it', async () => {
    const view = probe(() => useQuery(hall));
    await mount(view.with({}));
    await receive({ room: 'hall' }, ['a']);
    await settle(() => void view.result.refetch());
    await fail({ room: 'hall' }, 'FORBIDDEN');
    expect(view.result).toMatchObject({ status: 'error', error: { code: 'FORBIDDEN' } });
    expect(view.result.data).toBeUndefined();
  });
});

describe('suspense', () => {
  test('ends with the first result, and the query is live', async () => {
    const view = probe(({ room }: { room: string }) => useSuspenseQuery(queryOptions(list, { room })));
    const suspended = (room: string) => createElement(Suspense, { fallback: 'loading' }, view.with({ room }));
    const page = await mount(suspended('hall'));
    expect(page.text()).toBe('loading');
    await receive({ room: 'hall' }, ['a']);
    expect(view.result.data).toEqual(['a']);
    await receive({ room: 'hall' }, ['b']);
    expect(view.result.data).toEqual(['b']);
    await page.render(suspended('attic'));
    await receive({ room: 'attic' }, ['y']);
    await receive({ room: 'attic' }, ['z']);
    expect(view.result.data).toEqual(['z']);
    expect(listeners.count).toBe(1);
  });

  test('throws an error without a result to the boundary', async () => {
    const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
    const view = probe(() => useSuspenseQuery(hall));
    const page = await mount(createElement(Boundary, null, createElement(Suspense, null, view.with({}))));
    await fail({ room: 'hall' }, 'FORBIDDEN');
    expect(page.text()).toBe('FORBIDDEN');
    logged.mockRestore();
  });
});

class Boundary extends Component<{ children?: ReactNode }, { error: ConvoyError | null }> {
  override state = { error: null as ConvoyError | null };

  static getDerivedStateFromError(error: ConvoyError) {
    return { error };
  }

  override render() {
    return this.state.error?.code ?? this.props.children;
  }
}

describe('without a component', () => {
  test('a loader gets the result, and the live query ends', async () => {
    const loaded = queryClient.ensureQueryData(hall);
    await receive({ room: 'hall' }, ['a']);
    expect(await loaded).toEqual(['a']);
    await settle();
    expect(listeners.count).toBe(0);
  });

  test('a query that fails rejects', async () => {
    const loaded = queryClient.fetchQuery(hall);
    const rejected = expect(loaded).rejects.toMatchObject({ code: 'INTERNAL' });
    await fail({ room: 'hall' }, 'INTERNAL');
    await rejected;
  });

  test('a cached result is not fresh once it is not live', async () => {
    const first = queryClient.fetchQuery(hall);
    await receive({ room: 'hall' }, ['a']);
    await first;
    await settle();
    queryClient.fetchQuery(hall).catch(() => {});
    expect(queryClient.getQueryState(hall.queryKey)?.fetchStatus).toBe('fetching');
  });
});

describe('a result that a server has rendered', () => {
  function hydrated(): QueryClient {
    const onServer = new QueryClient();
    onServer.setQueryData(hall.queryKey, ['from the server']);
    const inBrowser = newQueryClient();
    hydrate(inBrowser, dehydrate(onServer));
    return inBrowser;
  }

  test('is shown, and becomes live', async () => {
    queryClient = hydrated();
    provideConvoy(queryClient, client);
    const view = probe(() => useQuery(hall));
    await mount(view.inStrictMode({}));
    expect(view.result.data).toEqual(['from the server']);
    await receive({ room: 'hall' }, ['a']);
    expect(view.result).toMatchObject({ data: ['a'], fetchStatus: 'idle' });
    expect(listeners.count).toBe(1);
  });

  test('becomes live without `provideConvoy` too, from the server of the page', async () => {
    const requests: string[] = [];
    vi.stubGlobal('fetch', (url: unknown) => {
      requests.push(String(url));
      return new Promise(() => {});
    });
    queryClient = hydrated();
    const view = probe(() => useQuery(hall));
    await mount(view.with({}));
    await settle();
    expect(view.result.data).toEqual(['from the server']);
    expect(requests).toEqual([expect.stringMatching(/\/api\/live$/)]);
    vi.unstubAllGlobals();
  });
});

test.each([0, 1, 2, 3, 4, 5, 6, 8, 12])('a result %i microtasks after the first one is not lost', async (count) => {
  const view = probe(() => useQuery(hall));
  await mount(view.with({}));
  await act(async () => {
    const { sink } = transport.open({ room: 'hall' });
    sink.result(['a']);
    for (let n = 0; n < count; n += 1) await Promise.resolve();
    sink.result(['b']);
  });
  await settle();
  expect(view.result).toMatchObject({ data: ['b'], fetchStatus: 'idle' });
});

test('a mutation with its optimistic update shows in the queries', async () => {
  const options = mutationOptions(send, {
    await: 'committed',
    optimistic: (store, { room, body }) => store.set(list, { room }, (all) => [...all, body]),
  });
  const view = probe(() => ({ hall: useQuery(hall), attic: useQuery(attic), send: useMutation(options) }));
  await mount(view.with({}));
  await receive({ room: 'hall' }, ['a']);
  await receive({ room: 'attic' }, []);
  let refuse = (_error: ConvoyError) => {};
  transport.answer = () =>
    new Promise((_resolve, reject) => {
      refuse = reject;
    });
  await settle(() => view.result.send.mutate({ room: 'hall', body: 'b' }));
  expect(view.result).toMatchObject({ hall: { data: ['a', 'b'] }, attic: { data: [] }, send: { isPending: true } });
  await settle(() => refuse(new ConvoyError('CONFLICT', 'no')));
  expect(view.result).toMatchObject({ hall: { data: ['a'] }, send: { status: 'error', error: { code: 'CONFLICT' } } });
  expect(transport.calls).toMatchObject([{ kind: 'mutation', name: 'messages.send' }]);
});
