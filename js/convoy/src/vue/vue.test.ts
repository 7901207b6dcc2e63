// @vitest-environment happy-dom
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createApp, defineComponent, effectScope, h, nextTick, ref, shallowRef } from 'vue';
import { HandTransport } from '../../testing/hand-transport.js';
import { listenersOf } from '../../testing/listeners.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { loadMutations } from '../client/lazy-mutations.js';
import { loadOptimistic } from '../client/load-optimistic.js';
import { makeActionRef, makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import {
  convoyPlugin,
  provideConvoy,
  skipToken,
  type UseQueryOptions,
  useAction,
  useConnectionState,
  useConvoy,
  useMutation,
  useQuery,
} from './index.js';

const list = makeQueryRef<{ room: string }, string[]>('messages.list');
const rooms = makeQueryRef<Record<never, never>, string[]>('rooms.list');
const send = makeMutationRef<{ room: string; body: string }, null>('messages.send');
const invite = makeActionRef<{ to: string }, string>('mail.invite');

let transport: HandTransport;
let client: ConvoyClient;
const unmounts: (() => void)[] = [];
beforeAll(loadMutations);
beforeAll(loadOptimistic);
beforeEach(() => {
  transport = new HandTransport();
  client = createConvoyClient({ transport });
});
afterEach(() => {
  for (const unmount of unmounts.splice(0)) unmount();
  client.close();
});

/** Mounts a component that calls `setup`, with the client provided; returns what `setup` returned. */
function mount<Result>(setup: () => Result, text: (result: Result) => unknown = () => null) {
  const element = document.createElement('div');
  let result: Result | undefined;
  const app = createApp(
    defineComponent(() => {
      const own = setup();
      result = own;
      return () => h('p', String(text(own)));
    }),
  );
  app.use(convoyPlugin(client));
  app.mount(element);
  const unmount = () => app.unmount();
  unmounts.push(unmount);
  return { result: result as Result, text: () => element.textContent, unmount };
}

async function receive(args: unknown, data: unknown): Promise<void> {
  const { sink } = transport.open(args);
  sink.connection({ connectionState: 'open', isReconnecting: false });
  sink.result(data);
  await nextTick();
}

describe('`useQuery`', () => {
  test('renders each result', async () => {
    const view = mount(
      () => useQuery(list, { room: 'hall' }),
      ({ data, status }) => `${status.value}: ${data.value?.join()}`,
    );
    await nextTick();
    expect(view.text()).toBe('pending: undefined');
    expect(view.result.isLoading.value).toBe(true);
    await receive({ room: 'hall' }, ['a']);
    expect(view.text()).toBe('success: a');
    await receive({ room: 'hall' }, ['a', 'b']);
    expect(view.text()).toBe('success: a,b');
    expect(transport.subscriptions).toHaveLength(1);
  });

  test('follows arguments in a ref or a getter, and compares them by value', async () => {
    const room = ref('hall');
    const view = mount(
      () => useQuery(list, () => ({ room: room.value })),
      ({ data }) => data.value?.join(),
    );
    await nextTick();
    await receive({ room: 'hall' }, ['a']);
    room.value = 'attic';
    expect(view.result.data.value).toBeNull();
    await nextTick();
    await receive({ room: 'attic' }, ['z']);
    expect(view.text()).toBe('z');
    const args = shallowRef({ room: 'hall' });
    mount(() => useQuery(list, args));
    await nextTick();
    args.value = { room: 'hall' };
    await nextTick();
    expect(transport.subscriptions.map(({ args }) => args)).toEqual(['{"room":"hall"}', '{"room":"attic"}']);
  });

  test('does not run while skipped', async () => {
    const room = ref<string | null>(null);
    const view = mount(() => [
      useQuery(list, () => (room.value === null ? skipToken : { room: room.value })),
      useQuery(list, 'skip'),
      ...[false, null, 0, ''].map((enabled) => useQuery(rooms, {}, () => ({ enabled: enabled as never }))),
    ]);
    await nextTick();
    for (const { isLoading, connectionState } of view.result) {
      expect([isLoading.value, connectionState.value]).toEqual([false, 'disabled']);
    }
    expect(transport.subscriptions).toEqual([]);
    room.value = 'hall';
    await nextTick();
    await receive({ room: 'hall' }, ['a']);
    expect(view.result[0]?.data.value).toEqual(['a']);
  });

  test('ends its subscription with the component, and with the scope', async () => {
    const listeners = listenersOf(client);
    const view = mount(() => useQuery(list, { room: 'hall' }));
    await nextTick();
    expect(listeners.count).toBe(1);
    view.unmount();
    unmounts.pop();
    expect(listeners.count).toBe(0);
    const scope = effectScope();
    scope.run(() => useQuery(list, { room: 'hall' }, { client }));
    await nextTick();
    expect(listeners.count).toBe(1);
    scope.stop();
    expect(listeners.count).toBe(0);
  });

  test('has errors, and takes back what the caller may no longer see', async () => {
    const options = ref<UseQueryOptions>({ keepPrevious: true });
    const room = ref('hall');
    const { result } = mount(() => useQuery(list, () => ({ room: room.value }), options));
    await nextTick();
    await receive({ room: 'hall' }, ['a']);
    transport.open({ room: 'hall' }).sink.failed(new ConvoyError('INTERNAL', 'no'));
    await nextTick();
    expect([result.status.value, result.data.value, result.error.value?.code]).toEqual(['error', ['a'], 'INTERNAL']);
    room.value = 'attic';
    expect([result.status.value, result.data.value, result.isStale.value]).toEqual(['success', ['a'], true]);
    await nextTick();
    transport.open({ room: 'attic' }).sink.failed(new ConvoyError('FORBIDDEN', 'no'));
    await nextTick();
    room.value = 'cellar';
    expect([result.status.value, result.data.value]).toEqual(['pending', null]);
  });

  test('`refetch` requests the result again, and `subscribe: false` calls the query once', async () => {
    transport.answer = () => ['once'];
    const { result } = mount(() => ({
      live: useQuery(list, { room: 'hall' }),
      once: useQuery(rooms, {}, { subscribe: false }),
    }));
    await nextTick();
    const refetched = result.live.refetch();
    expect(transport.open({ room: 'hall' }).refreshes).toBe(1);
    await receive({ room: 'hall' }, ['a']);
    expect(await refetched).toEqual(['a']);
    expect(result.once.data.value).toEqual(['once']);
    expect(await result.once.refetch()).toEqual(['once']);
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
  await nextTick();
  await receive({ room: 'hall' }, ['a']);
  let commit = (_result: null) => {};
  const committed = new Promise<null>((resolve) => {
    commit = resolve;
  });
  transport.answer = ({ kind }) => (kind === 'mutation' ? committed : 'sent');
  const sent = result.send({ room: 'hall', body: 'b' });
  await nextTick();
  expect(result.list.data.value).toEqual(['a', 'b']);
  commit(null);
  expect(await sent).toBeNull();
  expect(await result.invite({ to: 'ada' })).toBe('sent');
  expect(transport.calls.map(({ name }) => name)).toEqual(['messages.send', 'mail.invite']);
});

test('`useConnectionState` follows the connection', async () => {
  const { result } = mount(() => ({ query: useQuery(rooms), state: useConnectionState() }));
  await nextTick();
  expect(result.state.value).toBe('connecting');
  await receive({}, []);
  expect(result.state.value).toBe('open');
});

test('`provideConvoy` provides another client to the components below', () => {
  const other = createConvoyClient({ transport: new HandTransport() });
  const used: ConvoyClient[] = [];
  const Inner = defineComponent(() => {
    used.push(useConvoy(), useConvoy(client));
    return () => null;
  });
  const app = createApp(
    defineComponent(() => {
      provideConvoy(other);
      return () => h(Inner);
    }),
  );
  app.mount(document.createElement('div'));
  app.unmount();
  expect(used[0]).toBe(other);
  expect(used[1]).toBe(client);
  other.close();
});
