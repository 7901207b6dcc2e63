// @vitest-environment happy-dom
import { act } from 'react';
import { createRoot } from 'react-dom/client';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { HandTransport } from '../../../testing/hand-transport.js';
import { until } from '../../../testing/until.js';
import { type ConvoyClient, createConvoyClient } from '../../client/client.js';
import { loadMutations } from '../../client/lazy-mutations.js';
import { loadOptimistic } from '../../client/load-optimistic.js';
import { makeMutationRef, makeQueryRef } from '../../protocol/refs.js';
import { ConvoyError } from '../../values/errors.js';
import { ConvoyProvider } from '../context.js';
import { useQuery } from '../use-query.js';
import Devtools from './devtools.js';

globalThis.IS_REACT_ACT_ENVIRONMENT = true;

const list = makeQueryRef<{ room: string }, string[]>('notes.list');
const add = makeMutationRef<{ text: string }, null>('notes.add');
const ROOM = { room: 'hall' };
const OPEN = { connectionState: 'open', isReconnecting: false } as const;
const LOST = { connectionState: 'connecting', isReconnecting: true } as const;

function Notes() {
  useQuery(list, ROOM);
  return null;
}

let transport: HandTransport;
let client: ConvoyClient;
let element: HTMLElement;
let unmount: () => Promise<void>;
beforeAll(loadMutations);
beforeAll(loadOptimistic);
beforeEach(async () => {
  transport = new HandTransport();
  client = createConvoyClient({ transport });
  element = document.body.appendChild(document.createElement('div'));
  const root = createRoot(element);
  unmount = () => act(async () => root.unmount());
  await act(async () =>
    root.render(
      <ConvoyProvider client={client}>
        <Notes />
        <Devtools initiallyOpen />
      </ConvoyProvider>,
    ),
  );
});
afterEach(async () => {
  await unmount();
  element.remove();
  client.close();
});

/** Lets the client report what `change` does, and the panel render it. */
const after = (change: () => void) =>
  act(async () => {
    change();
    await new Promise((resolve) => setTimeout(resolve));
  });
const button = (name: string) => {
  const found = [...element.querySelectorAll('button')].find((each) => each.textContent?.startsWith(name));
  if (found === undefined) throw new Error(`There is no button ${name}`);
  return found;
};
const press = (name: string) => after(() => button(name).click());
const receive = (data: string[]) =>
  after(() => {
    const { sink } = transport.open(ROOM);
    sink.connection(OPEN);
    sink.result(data);
  });
const details = () => element.querySelector('section section')?.textContent;

test('a query is listed with its arguments, its state and its listeners', async () => {
  expect(element.textContent).toContain('notes.list {"room":"hall"} pending1');
  await receive(['first']);
  expect(element.textContent).toMatch(/notes\.list {"room":"hall"} current19 B\d\d:/);
});

test.each([
  ['pending', () => {}, 'The first result has not arrived yet.'],
  ['lost', () => transport.open(ROOM).sink.connection(LOST), 'The connection was lost.'],
  [
    'failed',
    () => transport.open(ROOM).sink.failed(new ConvoyError('INVALID_ARGS', 'No such room.')),
    'The query failed: INVALID_ARGS. No such room.',
  ],
])('the details of a query say why it is %s', async (name, change, reason) => {
  if (name !== 'pending') await receive(['first']);
  await after(change);
  await press('notes.list');
  expect(details()).toContain(reason);
});

test('an optimistic update is shown with its mutation until it ends', async () => {
  await receive(['first']);
  let answer = (_: null) => {};
  // Also if it is answered before the request has gone out.
  const answered = new Promise<null>((resolve) => {
    answer = resolve;
  });
  transport.answer = () => answered;
  await after(() => {
    const optimistic = (store: Parameters<NonNullable<Parameters<typeof client.mutation>[2]>['optimistic'] & {}>[0]) =>
      store.set(list, ROOM, (all) => [...all, 'mine']);
    void client.mutation(add, { text: 'mine' }, { optimistic });
  });
  expect(element.textContent).toContain('optimistic');
  await press('notes.list');
  expect(details()).toContain('Changed by the optimistic update of notes.add.');
  await press('Mutations 1');
  expect(element.textContent).toContain('notes.add {"text":"mine"}');
  expect(element.textContent).toContain('notes.list {"room":"hall"}');
  await after(() => answer(null));
  await receive(['first', 'mine']);
  // The panel is rendered a moment after the client has changed.
  await until(async () => {
    await after(() => {});
    expect(element.textContent).toContain('No mutation is in progress.');
  });
});

test('Escape closes the panel, and its button opens it again', async () => {
  const panel = element.querySelector('section') as HTMLElement;
  await after(() => panel.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true })));
  expect(element.querySelector('section')).toBeNull();
  expect(document.activeElement).toBe(button(' Convoy'));
  await press(' Convoy');
  expect(element.querySelector('section')).not.toBeNull();
});
