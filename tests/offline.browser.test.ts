/** A page and its console when the user signs in, and when the network is lost and restored. */
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
let logged: string[];
let channelId: string;
let send: (body: string) => Promise<unknown>;
beforeAll(async () => {
  const convoy = await createConvoy({
    databaseUrl: freshDatabaseUrl(),
    createDatabase: true,
    schema,
    functions,
    createContext: (request, base) => {
      const user = request.headers.authorization ?? 'Bearer anonymous';
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
  page.on('console', (message) => logged.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => logged.push(error.message));
  logged = [];
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
  logged = [];
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
  await untilState('open');
});

/** Resolves once the connection is in this state. */
const untilState = (state: string) =>
  page.waitForFunction((state) => (window as unknown as TestPage).watching.states.at(-1) === state, state);
const untilShown = (body: string) =>
  page.waitForFunction((body) => (window as unknown as TestPage).watching.bodies?.includes(body), body);
const signInAs = (token: string) =>
  page.evaluate((token) => {
    const { watching } = window as unknown as TestPage;
    watching.token = token;
    watching.client.refreshAuth();
  }, token);

test('signing in and out logs no error', async () => {
  await signInAs('ann');
  await send('to ann');
  await untilShown('to ann');
  await signInAs('');
  await send('to anonymous');
  await untilShown('to anonymous');
  await untilState('open');
  expect(logged).toEqual([]);
});

test('a lost network is shown at once, a restored one is used at once, and no error is logged', async () => {
  await send('before');
  await untilShown('before');
  await page.context().setOffline(true);
  await untilState('connecting');
  await send('meanwhile');
  await page.context().setOffline(false);
  await untilShown('meanwhile');
  await untilState('open');
  expect(await page.evaluate(() => (window as unknown as TestPage).watching.states.slice(-3))).toEqual([
    'open',
    'connecting',
    'open',
  ]);
  expect(logged).toEqual([]);
});
