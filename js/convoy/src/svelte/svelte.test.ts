// @vitest-environment happy-dom
import { flushSync, mount as mountComponent, unmount as unmountComponent } from 'svelte';
import { fromStore, writable } from 'svelte/store';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { listenersOf } from '../../testing/listeners.js';
import Probe from '../../testing/probe.svelte';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { loadMutations } from '../client/lazy-mutations.js';
import { loadOptimistic } from '../client/load-optimistic.js';
import { makeActionRef, makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { provideConvoy, skipToken, useAction, useConnectionState, useConvoy, useMutation, useQuery } from './index.js';

const list = makeQueryRef<{ room: string }, string[]>('messages.list');
const rooms = makeQueryRef<Record<never, never>, string[]>('rooms.list');
const send = makeMutationRef<{ room: string; body: string }, null>('messages.send');
const invite = makeActionRef<{ to: string }, string>('mail.invite');

let transport: HandTransport;
let client: ConvoyClient;
const unmounts: (() => Promise<void>)[] = [];
beforeAll(loadMutations);
beforeAll(loadOptimistic);
beforeEach(() => {
  transport = new HandTransport();
  client = createConvoyClient({ transport });
});
afterEach(async () => {
  for (const unmount of unmounts.splice(0)) await unmount();
  client.close();
});

/**
 * Mounts a component that calls `setup`, with the client provided, and renders everything that it returned, unless
 * `text` selects a part.
 */
function mount<Result>(setup: () => Result, text: (result: Result) => unknown = (result) => JSON.stringify(result)) {
  const target = document.createElement('div');
  const results: Result[] = [];
  const start = () => {
    provideConvoy(client);
    const result = setup();
    results.push(result);
    return () => String(text(result));
  };
  const component = mountComponent(Probe, { target, props: { start } });
  flushSync();
  const unmount = () => unmountComponent(component);
  unmounts.push(unmount);
  return { result: results[0] as Result, text: () => target.textContent, unmount };
}

/** Sends a result, and waits until listeners are notified. */
async function receive(args: unknown, data: unknown): Promise<void> {
  const { sink } = transport.open(args);
  sink.connection({ connectionState: 'open', isReconnecting: false });
  sink.result(data);
  await Promise.resolve();
  flushSync();
}

async function fail(args: unknown, code: 'INTERNAL' | 'FORBIDDEN'): Promise<void> {
  transport.open(args).sink.failed(new ConvoyError(code, 'no'));
  await Promise.resolve();
  flushSync();
}

describe('`useQuery`', () => {
  test('renders each result', async () => {
    const view = mount(
      () => useQuery(list, { room: 'hall' }),
      ({ data, status }) => `${status}: ${data?.join()}`,
    );
    expect(view.text()).toBe('pending: undefined');
    expect(view.result.isLoading).toBe(true);
    await receive({ room: 'hall' }, ['a']);
    expect(view.text()).toBe('success: a');
    await receive({ room: 'hall' }, ['a', 'b']);
    expect(view.text()).toBe('success: a,b');
    expect(transport.subscriptions).toHaveLength(1);
  });

  test('shows at once what another component has already', async () => {
    mount(() => useQuery(list, { room: 'hall' }));
    await receive({ room: 'hall' }, ['a']);
    const second = mount(
      () => useQuery(list, { room: 'hall' }),
      ({ data }) => data?.join(),
    );
    expect(second.text()).toBe('a');
  });

  test('follows arguments of a getter, and compares them by value', async () => {
    const room = fromStore(writable({ name: 'hall' }));
    const view = mount(
      () => useQuery(list, () => ({ room: room.current.name })),
      ({ data }) => data?.join(),
    );
    await receive({ room: 'hall' }, ['a']);
    room.current = { name: 'attic' };
    flushSync();
    expect(view.result.data).toBeNull();
    await receive({ room: 'attic' }, ['z']);
    expect(view.text()).toBe('z');
    room.current = { name: 'attic' };
    flushSync();
    expect(view.text()).toBe('z');
    expect(transport.subscriptions.map(({ args }) => args)).toEqual(['{"room":"hall"}', '{"room":"attic"}']);
  });

  test('does not run while skipped', async () => {
    const room = fromStore(writable<string | null>(null));
    const view = mount(() => {
      const args = () => {
        const name = room.current;
        return name === null ? skipToken : { room: name };
      };
      const disabled = [false, null, 0, ''].map((enabled) =>
        useQuery(rooms, {}, () => ({ enabled: enabled as never })),
      );
      return [useQuery(list, args), useQuery(list, 'skip'), ...disabled] as const;
    });
    for (const { isLoading, connectionState } of view.result) {
      expect([isLoading, connectionState]).toEqual([false, 'disabled']);
    }
    expect(transport.subscriptions).toEqual([]);
    room.current = 'hall';
    flushSync();
    await receive({ room: 'hall' }, ['a']);
    expect(view.result[0].data).toEqual(['a']);
  });

  test('is subscribed while something reads it', async () => {
    const listeners = listenersOf(client);
    const isShown = fromStore(writable(true));
    const view = mount(
      () => useQuery(list, { room: 'hall' }),
      (query) => (isShown.current ? query.status : 'hidden'),
    );
    expect(listeners.count).toBe(1);
    isShown.current = false;
    flushSync();
    await Promise.resolve();
    expect([view.text(), listeners.count]).toEqual(['hidden', 0]);
    isShown.current = true;
    flushSync();
    expect(listeners.count).toBe(1);
    await view.unmount();
    unmounts.pop();
    expect(listeners.count).toBe(0);
  });

  test('has one listener for all that reads it, and none of earlier arguments', async () => {
    const listeners = listenersOf(client);
    const room = fromStore(writable('hall'));
    mount(
      () => useQuery(list, () => ({ room: room.current })),
      ({ data, status, isStale }) => [data, status, isStale],
    );
    room.current = 'attic';
    flushSync();
    await Promise.resolve();
    expect(listeners.count).toBe(1);
  });

  test('has errors, and takes back what the caller may no longer see', async () => {
    const room = fromStore(writable('hall'));
    const { result } = mount(() => useQuery(list, () => ({ room: room.current }), { keepPrevious: true }));
    await receive({ room: 'hall' }, ['a']);
    await fail({ room: 'hall' }, 'INTERNAL');
    expect([result.status, result.data, result.error?.code]).toEqual(['error', ['a'], 'INTERNAL']);
    room.current = 'attic';
    flushSync();
    expect([result.status, result.data, result.isStale]).toEqual(['success', ['a'], true]);
    await fail({ room: 'attic' }, 'FORBIDDEN');
    room.current = 'cellar';
    flushSync();
    expect([result.status, result.data]).toEqual(['pending', null]);
  });

  test('`refetch` requests the result again, and `subscribe: false` calls the query once', async () => {
    transport.answer = () => ['once'];
    const { result } = mount(() => ({
      live: useQuery(list, { room: 'hall' }),
      once: useQuery(rooms, {}, { subscribe: false }),
    }));
    const refetched = result.live.refetch();
    expect(transport.open({ room: 'hall' }).refreshes).toBe(1);
    await receive({ room: 'hall' }, ['a']);
    expect(await refetched).toEqual(['a']);
    expect(await result.once.refetch()).toEqual(['once']);
    expect(result.once.data).toEqual(['once']);
    expect(transport.calls).toHaveLength(2);
  });
});

test('mutations and actions are called with their arguments and options', async () => {
  const { result } = mount(() => ({
    list: useQuery(list, { room: 'hall' }),
    send: useMutation(send, {
      await: 'committed',
      optimistic: (store, { room, body }) => store.set(list, { room }, (all) => [...all, body]),
    }),
    invite: useAction(invite),
  }));
  await receive({ room: 'hall' }, ['a']);
  let commit = (_result: null) => {};
  const committed = new Promise<null>((resolve) => {
    commit = resolve;
  });
  transport.answer = ({ kind }) => (kind === 'mutation' ? committed : 'sent');
  const sent = result.send({ room: 'hall', body: 'b' });
  await Promise.resolve();
  expect(result.list.data).toEqual(['a', 'b']);
  commit(null);
  expect(await sent).toBeNull();
  expect(await result.invite({ to: 'ada' })).toBe('sent');
  expect(transport.calls.map(({ name }) => name)).toEqual(['messages.send', 'mail.invite']);
});

test('`useConnectionState` follows the connection', async () => {
  const { result } = mount(() => ({ query: useQuery(rooms), state: useConnectionState() }));
  await Promise.resolve();
  expect(result.state.current).toBe('connecting');
  await receive({}, []);
  expect(result.state.current).toBe('open');
});

test('the client of the options comes before the provided one', () => {
  const other = createConvoyClient({ transport: new HandTransport() });
  const { result } = mount(() => [useConvoy(), useConvoy(other)]);
  expect(result[0]).toBe(client);
  expect(result[1]).toBe(other);
  other.close();
});
