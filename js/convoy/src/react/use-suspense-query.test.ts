// @vitest-environment happy-dom
import { act, Component, createElement, type ReactNode, StrictMode, Suspense, startTransition, useState } from 'react';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { type Screen, screen } from '../../testing/screen.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { makeQueryRef } from '../protocol/refs.js';
import { ConvoyError, isConvoyError } from '../values/errors.js';
import { ConvoyProvider } from './context.js';
import { useSuspenseQuery } from './use-suspense-query.js';

const list = makeQueryRef<{ room: string }, string[]>('messages.list');
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
  vi.useRealTimers();
});

let setRoom = (_room: string): void => {};

function Messages({ room: first }: { room: string }) {
  const [room, set] = useState(first);
  setRoom = set;
  return createElement('p', null, `${room}: ${useSuspenseQuery(list, { room }).join(' ')}`);
}

/** Shows the code of the error that was thrown below it, until `retry`. */
class Boundary extends Component<{ children: ReactNode }, { error: unknown }> {
  static current: Boundary;
  override state = { error: null as unknown };
  static getDerivedStateFromError = (error: unknown) => ({ error });
  retry(): void {
    this.setState({ error: null });
  }
  override render(): ReactNode {
    Boundary.current = this;
    return isConvoyError(this.state.error) ? this.state.error.code : this.props.children;
  }
}

async function mount(room = 'a', { strict = false } = {}): Promise<Screen> {
  const tree = createElement(
    ConvoyProvider,
    { client },
    createElement(Boundary, null, createElement(Suspense, { fallback: 'loading' }, createElement(Messages, { room }))),
  );
  const mounted = await screen(strict ? createElement(StrictMode, null, tree) : tree);
  screens.push(mounted);
  return mounted;
}

async function receive(room: string, data: string[]): Promise<void> {
  await act(async () => {
    const { sink } = transport.open({ room });
    sink.connection(OPEN);
    sink.result(data);
  });
}

const open = () => transport.subscriptions.filter(({ closed }) => !closed);

test.each([{ strict: false }, { strict: true }])(
  'suspends until there is a result, and is live ($strict)',
  async (options) => {
    const page = await mount('a', options);
    expect(page.text()).toBe('loading');
    await receive('a', ['one']);
    expect(page.text()).toBe('a: one');
    await receive('a', ['one', 'two']);
    expect(page.text()).toBe('a: one two');
    expect(transport.subscriptions).toHaveLength(1);
  },
);

test('with new arguments it suspends again, and in a transition the old result stays', async () => {
  const page = await mount();
  await receive('a', ['one']);
  await act(async () => startTransition(() => setRoom('b')));
  expect(page.text()).toBe('a: one');
  await receive('b', ['two']);
  expect(page.text()).toBe('b: two');
  await act(async () => setRoom('c'));
  expect(page.text()).toMatch(/loading$/);
  await receive('c', []);
  expect(page.text()).toBe('c: ');
});

test('an error without a result is thrown; after a reset the query runs again', async () => {
  vi.useFakeTimers();
  vi.spyOn(console, 'error').mockImplementation(() => {});
  const page = await mount();
  await act(async () => transport.open({ room: 'a' }).sink.failed(new ConvoyError('NOT_FOUND', 'no such room')));
  expect(page.text()).toBe('NOT_FOUND');
  await act(async () => vi.advanceTimersByTimeAsync(1_000));
  expect(open()).toHaveLength(0);
  await act(async () => Boundary.current.retry());
  expect(page.text()).toBe('loading');
  await receive('a', ['one']);
  expect(page.text()).toBe('a: one');
});

test('an error after a result leaves the result, except where the caller may no longer see it', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  const page = await mount();
  await receive('a', ['one']);
  await act(async () => transport.open({ room: 'a' }).sink.failed(new ConvoyError('INTERNAL', 'broken')));
  expect(page.text()).toBe('a: one');
  await act(async () => transport.open({ room: 'a' }).sink.failed(new ConvoyError('FORBIDDEN', 'not yours')));
  expect(page.text()).toBe('FORBIDDEN');
});

test('a component that unmounts while it waits leaves no subscription after the result', async () => {
  vi.useFakeTimers();
  const page = await mount();
  await page.unmount();
  screens.length = 0;
  await receive('a', ['one']);
  await vi.advanceTimersByTimeAsync(5_000);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(open()).toHaveLength(0);
  expect(vi.getTimerCount()).toBe(0);
});

test('components that wait for the same result share one subscription', async () => {
  const tree = createElement(
    ConvoyProvider,
    { client },
    ...[1, 2].map((key) =>
      createElement(Suspense, { key, fallback: 'loading ' }, createElement(Messages, { room: 'a' })),
    ),
  );
  const page = await screen(tree);
  screens.push(page);
  expect(page.text()).toBe('loading loading ');
  await receive('a', ['one']);
  expect(page.text()).toBe('a: onea: one');
  expect(transport.subscriptions).toHaveLength(1);
});
