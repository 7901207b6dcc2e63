// @vitest-environment happy-dom
import { act, createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { probe, type Screen, screen } from '../../testing/screen.js';
import { until } from '../../testing/until.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { skipToken } from '../client/skip.js';
import { makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { ConvoyProvider } from './context.js';
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
  for (const one of screens.splice(0)) await one.unmount();
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

async function receive(args: unknown, data: unknown): Promise<void> {
  await act(async () => {
    const { sink } = transport.open(args);
    sink.connection(OPEN);
    sink.result(data);
  });
}

test('loads, returns, and updates the result', async () => {
  const view = messages();
  await mount(view.with({ args: { channelId: 'c' } }));
  expect(view.result).toMatchObject({
    status: 'pending',
    data: null,
    error: null,
    isLoading: true,
    isStale: false,
    isReconnecting: false,
    connectionState: 'connecting',
  });
  await receive({ channelId: 'c' }, ['a']);
  expect(view.result).toMatchObject({ status: 'success', data: ['a'], isLoading: false, connectionState: 'open' });
  await receive({ channelId: 'c' }, ['a', 'b']);
  expect(view.result.data).toEqual(['a', 'b']);
});

test('an unchanged result causes no render', async () => {
  const view = messages();
  await mount(view.with({ args: { channelId: 'c' } }));
  const answer = ['a'];
  await receive({ channelId: 'c' }, answer);
  const before = view.renders.length;
  await receive({ channelId: 'c' }, answer);
  expect(view.renders.length).toBe(before);
});

test('arguments are compared by value', async () => {
  const view = messages();
  const mounted = await mount(view.with({ args: { channelId: 'c', tags: ['x'] } }));
  await mounted.render(view.with({ args: { tags: ['x'], channelId: 'c' } }));
  expect(transport.subscriptions).toHaveLength(1);
});

test('StrictMode opens one subscription', async () => {
  const view = messages();
  await mount(view.inStrictMode({ args: { channelId: 'c' } }));
  expect(transport.subscriptions.filter(({ closed }) => !closed)).toHaveLength(1);
  expect(transport.subscriptions).toHaveLength(1);
});

describe('when the arguments change', () => {
  test('the data belongs to the new ones at once', async () => {
    const view = messages();
    const mounted = await mount(view.with({ args: { channelId: 'c' } }));
    await receive({ channelId: 'c' }, ['a']);
    await mounted.render(view.with({ args: { channelId: 'd' } }));
    expect(view.result).toMatchObject({ status: 'pending', data: null, isLoading: true });
    await receive({ channelId: 'd' }, ['z']);
    expect(view.result.data).toEqual(['z']);
  });

  test('`keepPrevious` returns the previous result, marked stale, until there is a new one', async () => {
    const view = messages();
    const options = { keepPrevious: true };
    const mounted = await mount(view.with({ args: { channelId: 'c' }, options }));
    expect(view.result).toMatchObject({ data: null, isLoading: true });
    await receive({ channelId: 'c' }, ['a']);
    await mounted.render(view.with({ args: { channelId: 'd' }, options }));
    expect(view.result).toMatchObject({ status: 'success', data: ['a'], isStale: true, isLoading: false });
    await receive({ channelId: 'd' }, ['z']);
    expect(view.result).toMatchObject({ data: ['z'], isStale: false });
  });

  test.each(['UNAUTHORIZED', 'FORBIDDEN'] as const)(
    '`keepPrevious` does not return a result that %s has revoked',
    async (code) => {
      const view = messages();
      const options = { keepPrevious: true };
      const mounted = await mount(view.with({ args: { channelId: 'c' }, options }));
      await receive({ channelId: 'c' }, ['a']);
      await act(async () => transport.open({ channelId: 'c' }).sink.failed(new ConvoyError(code, 'not you')));
      expect(view.result).toMatchObject({ status: 'error', data: null });
      await mounted.render(view.with({ args: { channelId: 'd' }, options }));
      expect(view.result).toMatchObject({ status: 'pending', data: null, isLoading: true });
    },
  );

  test('going back within the retention finds the result still there', async () => {
    const view = messages();
    const mounted = await mount(view.with({ args: { channelId: 'c' } }));
    await receive({ channelId: 'c' }, ['a']);
    await mounted.render(view.with({ args: { channelId: 'd' } }));
    await mounted.render(view.with({ args: { channelId: 'c' } }));
    expect(view.result).toMatchObject({ data: ['a'], isLoading: false });
    expect(transport.subscriptions).toHaveLength(2);
  });
});

test.each([
  ['skipToken', { args: skipToken }],
  ["'skip'", { args: 'skip' }],
  ['enabled: false', { args: { channelId: 'c' }, options: { enabled: false } }],
  ...[null, 0, ''].map((enabled): [string, Props] => [
    `enabled: ${JSON.stringify(enabled)}`,
    { args: { channelId: 'c' }, options: { enabled: enabled as never } },
  ]),
] satisfies [string, Props][])('%s sends no request until there are arguments', async (_what, props) => {
  const view = messages();
  const mounted = await mount(view.with(props));
  expect(view.result).toMatchObject({
    status: 'pending',
    data: null,
    isLoading: false,
    connectionState: 'disabled',
  });
  await expect(view.result.refetch()).resolves.toBeNull();
  expect(transport.subscriptions).toEqual([]);
  await mounted.render(view.with({ args: { channelId: 'c' } }));
  await receive({ channelId: 'c' }, ['a']);
  expect(view.result.data).toEqual(['a']);
});

test('an error is returned beside the last result; `refetch` waits for the next result and never rejects', async () => {
  const view = messages();
  await mount(view.with({ args: { channelId: 'c' } }));
  await receive({ channelId: 'c' }, ['a']);
  const { sink } = transport.open({ channelId: 'c' });
  await act(async () => sink.failed(new ConvoyError('INTERNAL', 'no')));
  expect(view.result).toMatchObject({ status: 'error', data: ['a'], isStale: true, error: { code: 'INTERNAL' } });
  const { refetch } = view.result;
  const refetched = refetch();
  expect(transport.open({ channelId: 'c' }).refreshes).toBe(1);
  await act(async () => sink.failed(new ConvoyError('INTERNAL', 'still no')));
  await refetched;
  await receive({ channelId: 'c' }, ['a']);
  expect(view.result).toMatchObject({ status: 'success', error: null });
  expect(view.result.refetch).toBe(refetch);
});

test('a lost connection is shown, and the data is kept', async () => {
  const view = messages();
  await mount(view.with({ args: { channelId: 'c' } }));
  await receive({ channelId: 'c' }, ['a']);
  const { sink } = transport.open({ channelId: 'c' });
  await act(async () => sink.connection({ connectionState: 'connecting', isReconnecting: true }));
  expect(view.result).toMatchObject({
    data: ['a'],
    isReconnecting: true,
    isStale: true,
    connectionState: 'connecting',
  });
});

test('`subscribe: false` calls the query once, and `refetch` again', async () => {
  const answers = [['a'], ['b']];
  transport.answer = () => answers.shift();
  const view = messages();
  await mount(view.with({ args: { channelId: 'c' }, options: { subscribe: false } }));
  expect(view.result).toMatchObject({ status: 'success', data: ['a'], connectionState: 'disabled', isStale: false });
  await act(() => view.result.refetch());
  expect(view.result.data).toEqual(['b']);
  expect(transport.subscriptions).toEqual([]);
});

test('hooks use the provider’s client, and arguments are optional where an empty object fits', async () => {
  const view = probe(() => ({ query: useQuery(channels), connection: useConnectionState() }));
  await mount(createElement(ConvoyProvider, { client }, view.with({})));
  expect(view.result.connection).toBe('connecting');
  await receive({}, ['general']);
  expect(view.result.query.data).toEqual(['general']);
  expect(view.result.connection).toBe('open');
});

test('a server renders the pending state and sends no request', () => {
  const view = messages();
  renderToString(view.with({ args: { channelId: 'c' } }));
  expect(view.result).toMatchObject({ status: 'pending', isLoading: true, connectionState: 'connecting' });
  expect(transport.subscriptions).toEqual([]);
  expect(transport.calls).toEqual([]);
});

describe('`refetch`', () => {
  test('resolves with the result, and with null where there is none', async () => {
    const view = messages();
    await mount(view.with({ args: { channelId: 'c' } }));
    await receive({ channelId: 'c' }, ['a']);
    const refetched = view.result.refetch();
    await receive({ channelId: 'c' }, ['a', 'b']);
    expect(await refetched).toEqual(['a', 'b']);
    const failing = view.result.refetch();
    await act(async () => transport.open({ channelId: 'c' }).sink.failed(new ConvoyError('INTERNAL', 'no')));
    expect(await failing).toBeNull();
  });

  test('takes other arguments, which apply until the hook’s own change', async () => {
    const view = messages();
    const mounted = await mount(view.with({ args: { channelId: 'c' } }));
    await receive({ channelId: 'c' }, ['a']);
    let other: Promise<unknown> = Promise.resolve();
    await act(async () => {
      other = view.result.refetch({ channelId: 'd' });
    });
    await receive({ channelId: 'd' }, ['z']);
    expect(await other).toEqual(['z']);
    expect(view.result).toMatchObject({ status: 'success', data: ['z'] });
    await receive({ channelId: 'd' }, ['y', 'z']);
    expect(view.result.data).toEqual(['y', 'z']);
    await mounted.render(view.with({ args: { channelId: 'e' } }));
    await receive({ channelId: 'e' }, ['e']);
    expect(view.result.data).toEqual(['e']);
  });

  test('ignores the event passed to an event handler', async () => {
    const view = messages();
    await mount(view.with({ args: { channelId: 'c' } }));
    await receive({ channelId: 'c' }, ['a']);
    const refetched = view.result.refetch(new Event('click') as never);
    await receive({ channelId: 'c' }, ['b']);
    expect(await refetched).toEqual(['b']);
  });

  test('with `subscribe: false` calls the query once for each arguments', async () => {
    transport.answer = ({ args }) => [args];
    const view = messages();
    await mount(view.with({ args: { channelId: 'c' }, options: { subscribe: false } }));
    let other: unknown;
    await act(async () => {
      other = await view.result.refetch({ channelId: 'd' });
    });
    expect(other).toEqual(['{"channelId":"d"}']);
    expect(view.result.data).toEqual(['{"channelId":"d"}']);
    expect(transport.calls).toHaveLength(2);
  });
});

test('a `subscribeUrl` (0.0.1) that is not below `baseUrl` logs one warning', async () => {
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
  await until(() => expect(warned).toHaveBeenCalled());
  expect(warned.mock.calls).toEqual([
    [expect.stringMatching(/http:\/\/live\.example.*baseUrl, http:\/\/app\.example;/)],
  ]);
  warned.mockRestore();
  here.close();
});

test('`enabled: undefined` runs the query, as an option that is left out', async () => {
  const view = messages();
  await mount(view.with({ args: { channelId: 'c' }, options: { enabled: undefined as never } }));
  await receive({ channelId: 'c' }, ['a']);
  expect(view.result.data).toEqual(['a']);
});

test.each([undefined, null, 'https://app.example'])('a provider without a client (%s) says what it needs', (given) => {
  const provider = createElement(ConvoyProvider, { client: given as never });
  const message = `The client given to the hooks is ${given}. Pass createConvoyClient().`;
  expect(() => renderToString(provider)).toThrow(new TypeError(message));
});

describe('a custom client', () => {
  test('is called once, is not live, and logs one warning', async () => {
    const warned = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const calls: unknown[] = [];
    const custom = {
      query: async (ref: unknown, args: unknown) => {
        calls.push([ref, args]);
        return ['a'];
      },
      mutation: async () => null,
    };
    const view = probe(() => [
      useQuery(list, { channelId: 'c' }, { client: custom }),
      useQuery(list, { channelId: 'd' }, { client: custom }),
    ]);
    await mount(view.with({}));
    for (const query of view.result) {
      expect(query).toMatchObject({ status: 'success', data: ['a'], isStale: false, connectionState: 'disabled' });
    }
    expect(calls).toEqual([
      [list, { channelId: 'c' }],
      [list, { channelId: 'd' }],
    ]);
    // The same reference object, which such a client may compare by identity.
    expect((calls[0] as unknown[])[0]).toBe(list);
    await until(() => expect(warned).toHaveBeenCalled());
    expect(warned.mock.calls).toEqual([[expect.stringContaining('not live')]]);
    warned.mockRestore();
  });

  test('has its errors returned', async () => {
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const custom = { query: () => Promise.reject(new Error('no server')), mutation: async () => null };
    const view = probe(() => useQuery(list, { channelId: 'c' }, { client: custom }));
    await mount(createElement(ConvoyProvider, { client: custom }, view.with({})));
    expect(view.result).toMatchObject({ status: 'error', error: { message: 'no server' } });
    vi.restoreAllMocks();
  });
});
