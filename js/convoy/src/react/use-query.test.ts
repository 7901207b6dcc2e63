// @vitest-environment happy-dom
import { act, createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { probe, type Screen, screen } from '../../testing/screen.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { ConvoyProvider } from './context.js';
import { skipToken } from './skip.js';
import { useConnectionState } from './use-connection-state.js';
import { type UseQueryOptions, useQuery } from './use-query.js';

interface Args {
  channelId: string;
  tags?: string[];
}
const list = makeQueryRef<Args, string[]>('messages.list');
const channels = makeQueryRef<Record<never, never>, string[]>('channels.list');
const OPEN = { connectionState: 'open', isReconnecting: false } as const;

let transport: HandTransport;
let client: ConvoyClient;
const screens: Screen[] = [];
beforeEach(() => {
  transport = new HandTransport();
  client = createConvoyClient({ transport });
});
afterEach(async () => {
  for (const one of screens.splice(0)) await one.leave();
  client.close();
});

interface Props {
  args: Args | typeof skipToken | 'skip';
  options?: UseQueryOptions;
}
const messages = () => probe(({ args, options }: Props) => useQuery(list, args, { client, ...options }));

async function mount(...[node]: Parameters<typeof screen>): Promise<Screen> {
  const mounted = await screen(node);
  screens.push(mounted);
  return mounted;
}

async function says(args: unknown, data: unknown): Promise<void> {
  await act(async () => {
    const { sink } = transport.open(args);
    sink.connection(OPEN);
    sink.result(data);
  });
}

test('loads, shows, and follows the answer', async () => {
  const view = messages();
  await mount(view.with({ args: { channelId: 'c' } }));
  expect(view.given).toMatchObject({
    status: 'pending',
    data: null,
    error: null,
    isLoading: true,
    isStale: false,
    isReconnecting: false,
    connectionState: 'connecting',
  });
  await says({ channelId: 'c' }, ['a']);
  expect(view.given).toMatchObject({ status: 'success', data: ['a'], isLoading: false, connectionState: 'open' });
  await says({ channelId: 'c' }, ['a', 'b']);
  expect(view.given.data).toEqual(['a', 'b']);
});

test('an answer that stayed the same draws nothing', async () => {
  const view = messages();
  await mount(view.with({ args: { channelId: 'c' } }));
  const answer = ['a'];
  await says({ channelId: 'c' }, answer);
  const drawn = view.renders.length;
  await says({ channelId: 'c' }, answer);
  expect(view.renders.length).toBe(drawn);
});

test('arguments are compared by value', async () => {
  const view = messages();
  const mounted = await mount(view.with({ args: { channelId: 'c', tags: ['x'] } }));
  await mounted.show(view.with({ args: { tags: ['x'], channelId: 'c' } }));
  expect(transport.subscriptions).toHaveLength(1);
});

test('StrictMode opens one subscription', async () => {
  const view = messages();
  await mount(view.strictly({ args: { channelId: 'c' } }));
  expect(transport.subscriptions.filter(({ closed }) => !closed)).toHaveLength(1);
  expect(transport.subscriptions).toHaveLength(1);
});

describe('when the arguments change', () => {
  test('the data belongs to the new ones at once', async () => {
    const view = messages();
    const mounted = await mount(view.with({ args: { channelId: 'c' } }));
    await says({ channelId: 'c' }, ['a']);
    await mounted.show(view.with({ args: { channelId: 'd' } }));
    expect(view.given).toMatchObject({ status: 'pending', data: null, isLoading: true });
    await says({ channelId: 'd' }, ['z']);
    expect(view.given.data).toEqual(['z']);
  });

  test('`keepPrevious` shows the last answer, marked stale, until there is one', async () => {
    const view = messages();
    const options = { keepPrevious: true };
    const mounted = await mount(view.with({ args: { channelId: 'c' }, options }));
    expect(view.given).toMatchObject({ data: null, isLoading: true });
    await says({ channelId: 'c' }, ['a']);
    await mounted.show(view.with({ args: { channelId: 'd' }, options }));
    expect(view.given).toMatchObject({ status: 'success', data: ['a'], isStale: true, isLoading: false });
    await says({ channelId: 'd' }, ['z']);
    expect(view.given).toMatchObject({ data: ['z'], isStale: false });
  });

  test.each(['UNAUTHORIZED', 'FORBIDDEN'] as const)(
    '`keepPrevious` keeps nothing that %s has taken away',
    async (code) => {
      const view = messages();
      const options = { keepPrevious: true };
      const mounted = await mount(view.with({ args: { channelId: 'c' }, options }));
      await says({ channelId: 'c' }, ['a']);
      await act(async () => transport.open({ channelId: 'c' }).sink.failed(new ConvoyError(code, 'not you')));
      expect(view.given).toMatchObject({ status: 'error', data: null });
      await mounted.show(view.with({ args: { channelId: 'd' }, options }));
      expect(view.given).toMatchObject({ status: 'pending', data: null, isLoading: true });
    },
  );

  test('going back within a moment finds the answer still there', async () => {
    const view = messages();
    const mounted = await mount(view.with({ args: { channelId: 'c' } }));
    await says({ channelId: 'c' }, ['a']);
    await mounted.show(view.with({ args: { channelId: 'd' } }));
    await mounted.show(view.with({ args: { channelId: 'c' } }));
    expect(view.given).toMatchObject({ data: ['a'], isLoading: false });
    expect(transport.subscriptions).toHaveLength(2);
  });
});

test.each([
  ['skipToken', { args: skipToken }],
  ["'skip'", { args: 'skip' }],
  ['enabled: false', { args: { channelId: 'c' }, options: { enabled: false } }],
] satisfies [string, Props][])('%s asks nothing until there are arguments', async (_what, props) => {
  const view = messages();
  const mounted = await mount(view.with(props));
  expect(view.given).toMatchObject({
    status: 'pending',
    data: null,
    isLoading: false,
    connectionState: 'disabled',
  });
  await expect(view.given.refetch()).resolves.toBeNull();
  expect(transport.subscriptions).toEqual([]);
  await mounted.show(view.with({ args: { channelId: 'c' } }));
  await says({ channelId: 'c' }, ['a']);
  expect(view.given.data).toEqual(['a']);
});

test('an error is shown beside the last answer; `refetch` waits for the next and never rejects', async () => {
  const view = messages();
  await mount(view.with({ args: { channelId: 'c' } }));
  await says({ channelId: 'c' }, ['a']);
  const { sink } = transport.open({ channelId: 'c' });
  await act(async () => sink.failed(new ConvoyError('INTERNAL', 'no')));
  expect(view.given).toMatchObject({ status: 'error', data: ['a'], isStale: true, error: { code: 'INTERNAL' } });
  const { refetch } = view.given;
  const refetched = refetch();
  expect(transport.open({ channelId: 'c' }).refreshes).toBe(1);
  await act(async () => sink.failed(new ConvoyError('INTERNAL', 'still no')));
  await refetched;
  await says({ channelId: 'c' }, ['a']);
  expect(view.given).toMatchObject({ status: 'success', error: null });
  expect(view.given.refetch).toBe(refetch);
});

test('a lost connection is shown, and the data stays', async () => {
  const view = messages();
  await mount(view.with({ args: { channelId: 'c' } }));
  await says({ channelId: 'c' }, ['a']);
  const { sink } = transport.open({ channelId: 'c' });
  await act(async () => sink.connection({ connectionState: 'connecting', isReconnecting: true }));
  expect(view.given).toMatchObject({ data: ['a'], isReconnecting: true, isStale: true, connectionState: 'connecting' });
});

test('`subscribe: false` asks once, and `refetch` asks again', async () => {
  const answers = [['a'], ['b']];
  transport.answer = () => answers.shift();
  const view = messages();
  await mount(view.with({ args: { channelId: 'c' }, options: { subscribe: false } }));
  expect(view.given).toMatchObject({ status: 'success', data: ['a'], connectionState: 'disabled', isStale: false });
  await act(() => view.given.refetch());
  expect(view.given.data).toEqual(['b']);
  expect(transport.subscriptions).toEqual([]);
});

test('the provider’s client serves, and arguments may be left out where an empty object fits', async () => {
  const view = probe(() => ({ query: useQuery(channels), connection: useConnectionState() }));
  await mount(createElement(ConvoyProvider, { client }, view.with({})));
  expect(view.given.connection).toBe('connecting');
  await says({}, ['general']);
  expect(view.given.query.data).toEqual(['general']);
  expect(view.given.connection).toBe('open');
});

test('a server renders the pending state and asks nothing', () => {
  const view = messages();
  renderToString(view.with({ args: { channelId: 'c' } }));
  expect(view.given).toMatchObject({ status: 'pending', isLoading: true, connectionState: 'connecting' });
  expect(transport.subscriptions).toEqual([]);
  expect(transport.calls).toEqual([]);
});

describe('`refetch`', () => {
  test('resolves with the answer, and with null where there is none', async () => {
    const view = messages();
    await mount(view.with({ args: { channelId: 'c' } }));
    await says({ channelId: 'c' }, ['a']);
    const refetched = view.given.refetch();
    await says({ channelId: 'c' }, ['a', 'b']);
    expect(await refetched).toEqual(['a', 'b']);
    const failing = view.given.refetch();
    await act(async () => transport.open({ channelId: 'c' }).sink.failed(new ConvoyError('INTERNAL', 'no')));
    expect(await failing).toBeNull();
  });

  test('takes other arguments, which hold until the hook’s own change', async () => {
    const view = messages();
    const mounted = await mount(view.with({ args: { channelId: 'c' } }));
    await says({ channelId: 'c' }, ['a']);
    let other: Promise<unknown> = Promise.resolve();
    await act(async () => {
      other = view.given.refetch({ channelId: 'd' });
    });
    await says({ channelId: 'd' }, ['z']);
    expect(await other).toEqual(['z']);
    expect(view.given).toMatchObject({ status: 'success', data: ['z'] });
    await says({ channelId: 'd' }, ['y', 'z']);
    expect(view.given.data).toEqual(['y', 'z']);
    await mounted.show(view.with({ args: { channelId: 'e' } }));
    await says({ channelId: 'e' }, ['e']);
    expect(view.given.data).toEqual(['e']);
  });

  test('passes over what an event handler is given', async () => {
    const view = messages();
    await mount(view.with({ args: { channelId: 'c' } }));
    await says({ channelId: 'c' }, ['a']);
    const refetched = view.given.refetch(new Event('click') as never);
    await says({ channelId: 'c' }, ['b']);
    expect(await refetched).toEqual(['b']);
  });

  test('works with `subscribe: false`, asking once for each', async () => {
    transport.answer = ({ args }) => [args];
    const view = messages();
    await mount(view.with({ args: { channelId: 'c' }, options: { subscribe: false } }));
    let other: unknown;
    await act(async () => {
      other = await view.given.refetch({ channelId: 'd' });
    });
    expect(other).toEqual(['{"channelId":"d"}']);
    expect(view.given.data).toEqual(['{"channelId":"d"}']);
    expect(transport.calls).toHaveLength(2);
  });
});

test('an address of streams, as 0.0.1 took it, is warned of once where it is another than the client has', async () => {
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {});
  const here = createConvoyClient({ baseUrl: 'http://app.example', transport: new HandTransport() });
  const view = (subscribeUrl: string) =>
    probe(() => [
      useQuery(list, { channelId: 'c' }, { client: here, subscribeUrl }),
      useQuery(channels, {}, { client: here, subscribeUrl }),
    ]);
  await mount(view('http://app.example/api/subscribe').with({}));
  await mount(view('/api/subscribe').with({}));
  expect(warned.mock.calls).toEqual([]);
  await mount(view('http://live.example/api/subscribe').with({}));
  expect(warned.mock.calls).toEqual([[expect.stringMatching(/http:\/\/live\.example.*at http:\/\/app\.example;/)]]);
  warned.mockRestore();
  here.close();
});

describe('a client made by hand', () => {
  test('is asked once, is not live, and that is said once', async () => {
    const warned = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const asked: unknown[] = [];
    const byHand = {
      query: async (ref: unknown, args: unknown) => {
        asked.push([ref, args]);
        return ['a'];
      },
      mutation: async () => null,
    };
    const view = probe(() => [
      useQuery(list, { channelId: 'c' }, { client: byHand }),
      useQuery(list, { channelId: 'd' }, { client: byHand }),
    ]);
    await mount(view.with({}));
    for (const query of view.given) {
      expect(query).toMatchObject({ status: 'success', data: ['a'], isStale: false, connectionState: 'disabled' });
    }
    expect(asked).toEqual([
      [list, { channelId: 'c' }],
      [list, { channelId: 'd' }],
    ]);
    // The very reference, by which such a client may tell what is asked.
    expect((asked[0] as unknown[])[0]).toBe(list);
    expect(warned.mock.calls).toEqual([[expect.stringContaining('not live')]]);
    warned.mockRestore();
  });

  test('shows what it throws', async () => {
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const byHand = { query: () => Promise.reject(new Error('no server')), mutation: async () => null };
    const view = probe(() => useQuery(list, { channelId: 'c' }, { client: byHand }));
    await mount(createElement(ConvoyProvider, { client: byHand }, view.with({})));
    expect(view.given).toMatchObject({ status: 'error', error: { message: 'no server' } });
    vi.restoreAllMocks();
  });
});
