import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ScriptedServer } from '../../testing/scripted-server.js';
import { watching } from '../../testing/watching.js';
import { makeQueryRef } from '../protocol/refs.js';
import { type ConvoyClient, createConvoyClient } from './client.js';
import { Endpoint } from './endpoint.js';
import { SseTransport } from './sse-transport.js';

const list = makeQueryRef<{ channelId: string }, number[]>('messages.list');

let server: ScriptedServer;
let client: ConvoyClient;
let page: { readonly window: EventTarget; readonly document: EventTarget & { visibilityState: string } };
beforeEach(async () => {
  page = {
    window: new EventTarget(),
    document: Object.assign(new EventTarget(), { visibilityState: 'visible' }),
  };
  vi.stubGlobal('window', page.window);
  vi.stubGlobal('document', page.document);
  server = await ScriptedServer.start();
  const endpoint = new Endpoint({ baseUrl: server.baseUrl });
  client = createConvoyClient({ transport: new SseTransport({ endpoint, restAfterMs: 10, random: () => 0.999 }) });
});
afterEach(async () => {
  client.close();
  await server.stop();
  vi.unstubAllGlobals();
});

function look(state: 'visible' | 'hidden'): void {
  page.document.visibilityState = state;
  page.document.dispatchEvent(new Event('visibilitychange'));
}

test('a hidden page gives its connections back, and takes them again with what it holds when someone looks', async () => {
  const watch = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  stream.result([1], 'h1');
  await watch.until(({ status }) => status === 'success');
  look('hidden');
  await stream.closed;
  expect(await watch.until(({ connectionState }) => connectionState === 'closed')).toMatchObject({ data: [1] });
  look('visible');
  const next = await server.nextStream();
  expect(next.headers['last-event-id']).toBe('h1');
  next.raw(': current\n\n');
  await watch.until(({ isStale }) => !isStale);
});

test('a glance elsewhere costs nothing', async () => {
  const watch = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  look('hidden');
  look('visible');
  stream.result([1], 'h1');
  await watch.until(({ status }) => status === 'success');
  expect(server.streams).toHaveLength(1);
});

test('a network that is back is used at once', async () => {
  const watch = watching(client, list, { channelId: 'c' });
  const stream = await server.nextStream();
  stream.raw('retry: 60000\n\n');
  stream.result([1], 'h1');
  await watch.until(({ status }) => status === 'success');
  stream.cut();
  await watch.until(({ isReconnecting }) => isReconnecting);
  page.window.dispatchEvent(new Event('online'));
  expect((await server.nextStream()).headers['last-event-id']).toBe('h1');
});
