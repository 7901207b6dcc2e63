/** What a page shows, and its console says, when somebody signs in and when the network goes and comes back. */
import { ConvoyError } from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { freshDatabaseUrl, functions, schema } from './app.js';
import { type ClientPage, launchChromium, portOf, servePages } from './chromium.js';

interface Watching {
  token: string;
  client: ReturnType<ClientPage['convoy']['createConvoyClient']>;
  /** Every state of the connection, in order. */
  states: string[];
  bodies: string[] | null;
}
type TestPage = ClientPage & { watching: Watching };

const closing: (() => Promise<unknown>)[] = [];
let page: Page;
let said: string[];
let channelId: string;
let send: (body: string) => Promise<unknown>;
beforeAll(async () => {
  const convoy = await createConvoy({
    databaseUrl: freshDatabaseUrl(),
    createDatabase: true,
    schema,
    functions,
    createContext: (request, base) => {
      const user = request.headers.authorization ?? 'Bearer nobody';
      if (user === 'Bearer wrong') throw new ConvoyError('UNAUTHORIZED', 'who?');
      return { ...base, user };
    },
  });
  closing.push(() => convoy.close());
  const { port } = await convoy.listen({ port: 0 });
  const server = await servePages({ '/api': `http://127.0.0.1:${port}` }, { quiet: true });
  closing.push(() => server.close());
  const browser = await launchChromium();
  closing.push(() => browser.close());
  page = await browser.newPage();
  page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => said.push(error.message));
  said = [];
  const context = { context: { user: 'the test' } };
  const name = { kind: 'mutation', name: 'channels.create' } as never;
  channelId = (await convoy.mutation(name, { name: 'hall' } as never, context)) as string;
  send = (body) =>
    convoy.mutation({ kind: 'mutation', name: 'messages.send' } as never, { channelId, body } as never, context);
  const address = `http://localhost:${portOf(server)}/`;
  await page.goto(address);
  await page.waitForFunction(() => 'convoy' in window);
});
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});

beforeEach(async () => {
  said = [];
  await page.evaluate((channelId) => {
    const { convoy } = window as unknown as TestPage;
    const watching: Watching = {
      token: '',
      client: convoy.createConvoyClient({ auth: () => watching.token }),
      states: [],
      bodies: null,
    };
    (window as unknown as TestPage).watching = watching;
    const list = convoy.makeQueryRef<{ channelId: string }, { body: string }[]>('messages.list');
    watching.client.watch(list, { channelId }, ({ data, connectionState }) => {
      if (watching.states.at(-1) !== connectionState) watching.states.push(connectionState);
      watching.bodies = data?.map(({ body }) => body) ?? null;
    });
  }, channelId);
  await is('open');
});

/** Resolves once the connection is in this state. */
const is = (state: string) =>
  page.waitForFunction((state) => (window as unknown as TestPage).watching.states.at(-1) === state, state);
const shows = (body: string) =>
  page.waitForFunction((body) => (window as unknown as TestPage).watching.bodies?.includes(body), body);
const becomes = (token: string) =>
  page.evaluate((token) => {
    const { watching } = window as unknown as TestPage;
    watching.token = token;
    watching.client.refreshAuth();
  }, token);

test('signing in and out says nothing in the console', async () => {
  await becomes('ann');
  await send('to ann');
  await shows('to ann');
  await becomes('');
  await send('to nobody');
  await shows('to nobody');
  await is('open');
  expect(said).toEqual([]);
});

test('a network that goes is shown at once, and one that comes back is used at once, without a word', async () => {
  await send('before');
  await shows('before');
  await page.context().setOffline(true);
  await is('connecting');
  await send('meanwhile');
  await page.context().setOffline(false);
  await shows('meanwhile');
  await is('open');
  expect(await page.evaluate(() => (window as unknown as TestPage).watching.states.slice(-3))).toEqual([
    'open',
    'connecting',
    'open',
  ]);
  expect(said).toEqual([]);
});
