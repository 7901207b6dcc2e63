// @vitest-environment happy-dom
/** All hooks of a page share one connection. */
import { act, createElement, StrictMode } from 'react';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ModelServer, seededRandom } from '../../testing/model-server.js';
import { type Screen, screen } from '../../testing/screen.js';
import { type ConvoyClient, createConvoyClient } from '../client/client.js';
import { makeQueryRef } from '../protocol/refs.js';
import { ConvoyProvider } from './context.js';
import { useConnectionState } from './use-connection-state.js';
import { useQuery } from './use-query.js';

const rows = makeQueryRef<{ of: string }, { id: string; n: number }[]>('model');

let server: ModelServer;
let client: ConvoyClient;
let page: Screen;
/** The requests the client has made: path and body. */
let requests: { readonly path: string; readonly body: { readonly queries: unknown[]; readonly add: unknown[] } }[];
beforeEach(() => {
  requests = [];
  server = new ModelServer(seededRandom(1), () => {});
  client = createConvoyClient({
    baseUrl: 'http://model',
    fetch: (url, init) => {
      requests.push({ path: new URL(String(url)).pathname, body: JSON.parse(String(init?.body)) });
      return server.fetch(url, init);
    },
  });
});
afterEach(async () => {
  await page.unmount();
  client.close();
});

function Hook({ of }: { of: string }) {
  const { data } = useQuery(rows, { of });
  return createElement('b', null, data?.[0]?.n ?? '-');
}

function ConnectionState() {
  return createElement('i', null, useConnectionState());
}

const hooks = (count: number) =>
  createElement(
    StrictMode,
    null,
    createElement(ConvoyProvider, { client }, [
      createElement(ConnectionState, { key: 'state' }),
      ...Array.from({ length: count }, (_, n) => createElement(Hook, { key: n, of: `list ${n}` })),
    ]),
  );

/** Flushes the server's frames and renders, until the page shows `text`. */
async function shows(text: string): Promise<void> {
  while (page.text() !== text) {
    await act(async () => {
      server.flush('none');
      await new Promise((resolve) => setTimeout(resolve, 0));
    });
  }
}

test('fifty hooks of one page send one request, and hooks mounted later one more', async () => {
  page = await screen(hooks(50));
  await shows(`open${'1'.repeat(50)}`);
  expect(requests).toHaveLength(1);
  expect(requests[0]?.path).toBe('/api/live');
  expect(requests[0]?.body.queries).toHaveLength(50);

  await page.render(hooks(80));
  await shows(`open${'1'.repeat(80)}`);
  expect(requests).toHaveLength(2);
  expect(requests[1]?.path).toBe('/api/live/session-0');
  expect(requests[1]?.body.add).toHaveLength(30);

  for (let n = 0; n < 80; n += 1) server.change(`list ${n}`);
  await shows(`open${'2'.repeat(80)}`);
  expect(requests).toHaveLength(2);
});
