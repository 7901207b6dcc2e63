// @vitest-environment happy-dom
import { act, createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HandTransport } from '../../testing/hand-transport.js';
import { probe, type Screen, screen } from '../../testing/screen.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { skipToken } from '../client/skip.js';
import { makeQueryRef } from '../protocol/refs.js';
import { ConvoyError } from '../values/errors.js';
import { useQueries } from './use-queries.js';

const list = makeQueryRef<{ room: string }, string[]>('messages.list');
const rooms = makeQueryRef<Record<never, never>, string[]>('rooms.list');

let transport: HandTransport;
let client: ConvoyClient;
let page: Screen | undefined;
beforeEach(() => {
  transport = new HandTransport();
  client = createConvoyClient({ transport });
});
afterEach(async () => {
  await page?.unmount();
  page = undefined;
  client.close();
});

/** The messages of some rooms, by room. */
const messages = () =>
  probe(({ of }: { of: readonly string[] }) =>
    useQueries(Object.fromEntries(of.map((room) => [room, { ref: list, args: { room } }])), { client }),
  );

const receive = (args: unknown, data: unknown) => act(async () => transport.open(args).sink.result(data));
const open = () => transport.subscriptions.filter(({ closed }) => !closed).map(({ args }) => args);

test('returns a live result for each name', async () => {
  const view = probe(() => useQueries({ a: { ref: list, args: { room: 'a' } }, all: { ref: rooms } }, { client }));
  page = await screen(view.with({}));
  expect(view.result).toMatchObject({ a: { status: 'pending', isLoading: true }, all: { data: null } });
  await receive({ room: 'a' }, ['one']);
  await act(async () => transport.open({}).sink.failed(new ConvoyError('INTERNAL', 'broken')));
  expect(view.result).toMatchObject({
    a: { status: 'success', data: ['one'], isLoading: false },
    all: { status: 'error', error: { code: 'INTERNAL' } },
  });
});

test('subscribes to added queries, and keeps the results of the others', async () => {
  const view = messages();
  page = await screen(view.with({ of: ['a'] }));
  await receive({ room: 'a' }, ['one']);
  await page.render(view.with({ of: ['a', 'b'] }));
  expect(view.result).toMatchObject({ a: { data: ['one'] }, b: { status: 'pending' } });
  await page.render(view.with({ of: ['b'] }));
  expect(Object.keys(view.result)).toEqual(['b']);
  expect(transport.subscriptions).toHaveLength(2);
});

test('new objects with the same queries change nothing, and a changed result only its own', async () => {
  const view = messages();
  page = await screen(view.with({ of: ['a', 'b'] }));
  await receive({ room: 'a' }, ['one']);
  await receive({ room: 'b' }, ['two']);
  const before = view.result;
  await page.render(view.with({ of: ['a', 'b'] }));
  expect(view.result).toBe(before);
  await receive({ room: 'b' }, ['two', 'three']);
  expect(view.result.a).toBe(before.a);
  expect(view.result.b?.data).toEqual(['two', 'three']);
});

test('two results of one commit are rendered together', async () => {
  const view = messages();
  page = await screen(view.with({ of: ['a', 'b'] }));
  const rendersBefore = view.renders.length;
  await act(async () => {
    transport.open({ room: 'a' }).sink.result(['one']);
    transport.open({ room: 'b' }).sink.result(['two']);
  });
  expect(view.renders.length).toBe(rendersBefore + 1);
});

test('a skipped query has no subscription', async () => {
  const view = probe(() =>
    useQueries({ a: { ref: list, args: skipToken }, b: { ref: list, args: 'skip' } }, { client }),
  );
  page = await screen(view.with({}));
  expect(view.result).toMatchObject({
    a: { status: 'pending', isLoading: false, connectionState: 'disabled' },
    b: { isLoading: false },
  });
  expect(open()).toEqual([]);
});

test('`refetch` requests one query again', async () => {
  const view = messages();
  page = await screen(view.with({ of: ['a', 'b'] }));
  await receive({ room: 'a' }, ['one']);
  const refetched = view.result.a?.refetch();
  expect(transport.subscriptions.map(({ refreshes }) => refreshes)).toEqual([1, 0]);
  await receive({ room: 'a' }, ['two']);
  expect(await refetched).toEqual(['two']);
});

test('a server renders the pending state', () => {
  const view = messages();
  renderToString(createElement(() => view.with({ of: ['a'] })));
  expect(view.result).toMatchObject({ a: { status: 'pending', isLoading: true } });
  expect(transport.subscriptions).toHaveLength(0);
});
