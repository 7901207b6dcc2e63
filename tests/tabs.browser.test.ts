/**
 * Many tabs of one page in Chromium, over HTTP/1.1 and its six connections: each tab is loaded, is current, and gets
 * responses to its mutations.
 */
import { join } from 'node:path';
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { launchChromium } from './chromium.js';
import { PageServer } from './page-server.js';
import type { TabsPage } from './tabs-page.js';

/** The time limit only turns a hang into a failure. */
const PATIENT = { timeout: 30_000 };
/** How many tabs the client lets have a stream. */
const MAX_STREAMS = 3;

const schema = defineSchema({ texts: defineTable({ text: z.string() }) });
type Context = BaseContext<DataModelOf<typeof schema>> & { user: string };
const { query, mutation } = createFunctionHelpers<Context>();
const functions = {
  texts: {
    list: query({
      handler: async (ctx) => ({
        user: ctx.user,
        texts: (await ctx.db.query('texts').collect()).map(({ text }) => text).sort(),
      }),
    }),
    create: mutation({
      input: { text: z.string() },
      handler: async (ctx, { text }) => {
        await ctx.db.insert('texts', { text });
        return null;
      },
    }),
  },
};

let browser: Browser;
let convoy: Convoy;
let pages: PageServer;
let context: BrowserContext;
beforeAll(async () => {
  browser = await launchChromium('--host-resolver-rules=MAP app.lan 127.0.0.1');
});
afterAll(() => browser.close());
beforeEach(async () => {
  convoy = await createConvoy({
    databaseUrl: freshDatabaseUrl(),
    createDatabase: true,
    schema,
    functions,
    createContext: ({ headers }, base) => ({ ...base, user: String(headers.authorization).slice(7) }),
  });
  const { port } = await convoy.listen({ port: 0 });
  pages = await PageServer.start(join(import.meta.dirname, 'tabs-page.ts'), port);
  context = await browser.newContext();
});
afterEach(async () => {
  await context.close();
  await pages.close();
  await convoy.close();
});

/** Opens a tab and resolves when it shows the result of its query. */
async function open(user: string, { url = pages.url, search = '' } = {}): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${url}?user=${user}${search}`, PATIENT);
  await shows(page, new RegExp(`^${user}:`));
  return page;
}

async function openMany(count: number, options: { url?: string; search?: string } = {}): Promise<Page[]> {
  const tabs: Page[] = [];
  for (let n = 0; n < count; n++) tabs.push(await open('ann', options));
  return tabs;
}

const shown = (page: Page) => page.locator('p').innerText(PATIENT);
const shows = (page: Page, text: RegExp | string) =>
  expect.poll(() => shown(page), PATIENT)[text instanceof RegExp ? 'toMatch' : 'toBe'](text as string);
const add = (page: Page, text: string) =>
  page.evaluate((text) => (window as unknown as { page: TabsPage }).page.add(text), text);

/** Each tab calls a mutation at the same time; resolves with the milliseconds of the slowest response. */
async function addInEach(tabs: readonly Page[]): Promise<number> {
  return Math.max(...(await Promise.all(tabs.map((tab, n) => add(tab, `text-${String(n).padStart(2, '0')}`)))));
}

const allTexts = (count: number) =>
  Array.from({ length: count }, (_, n) => `text-${String(n).padStart(2, '0')}`).join(' ');

test.each([1, 5, 6, 7, 20])('%i tabs', async (count) => {
  const tabs = await openMany(count);
  expect(pages.open).toEqual({ streams: Math.min(count, MAX_STREAMS), sockets: Math.max(0, count - MAX_STREAMS) });
  const slowestMs = await addInEach(tabs);
  for (const tab of tabs) await shows(tab, `ann: ${allTexts(count)}`);
  console.log(`${count} tabs: the slowest of ${count} mutations at once took ${slowestMs.toFixed(0)} ms`);
});

test('a frozen tab, a crashed one and one of another user', async () => {
  const [frozen, crashed, ...others] = (await openMany(6)) as [Page, Page, ...Page[]];
  const other = await open('bob');
  const lifecycle = await context.newCDPSession(frozen);
  await lifecycle.send('Page.setWebLifecycleState', { state: 'frozen' });
  const crash = crashed.waitForEvent('crash');
  const session = await context.newCDPSession(crashed);
  void session.send('Page.crash').catch(() => {});
  await crash;
  await crashed.close();

  const living = [...others, other];
  await addInEach(living);
  for (const tab of others) await shows(tab, `ann: ${allTexts(5)}`);
  await shows(other, `bob: ${allTexts(5)}`);
  await expect.poll(() => pages.open.streams, PATIENT).toBe(MAX_STREAMS - 1);
  // The crashed tab's stream is free again.
  const next = await open('ann');
  await shows(next, `ann: ${allTexts(5)}`);
  expect(pages.open).toEqual({ streams: MAX_STREAMS, sockets: 4 });

  await lifecycle.send('Page.setWebLifecycleState', { state: 'active' });
  await shows(frozen, `ann: ${allTexts(5)}`);
});

test('a tab that may not use a WebSocket polls, and states why', async () => {
  const streaming = await openMany(MAX_STREAMS);
  const warned: string[] = [];
  context.on('console', (message) => warned.push(message.text()));
  const polling = await openMany(4, { search: '&headers' });
  expect(pages.open).toEqual({ streams: MAX_STREAMS, sockets: 0 });
  await addInEach([...streaming, ...polling]);
  for (const tab of [...streaming, ...polling]) await shows(tab, `ann: ${allTexts(7)}`);
  expect(warned.filter((text) => /polled.*3 other tabs.*`headers`/.test(text))).toHaveLength(4);
});

test('tabs that cannot be counted use a WebSocket: there are no Web Locks over HTTP from another machine', async () => {
  const url = pages.url.replace('127.0.0.1', 'app.lan');
  const tabs = await openMany(7, { url });
  expect(pages.open).toEqual({ streams: 0, sockets: 7 });
  await addInEach(tabs);
  for (const tab of tabs) await shows(tab, `ann: ${allTexts(7)}`);
});

test('a closed tab and one that leaves the page free their streams', async () => {
  const tabs = await openMany(MAX_STREAMS);
  await tabs[0]?.close();
  await tabs[1]?.goto('about:blank');
  await expect.poll(() => pages.open.streams, PATIENT).toBe(MAX_STREAMS - 2);
  await openMany(3);
  expect(pages.open).toEqual({ streams: MAX_STREAMS, sockets: 1 });
});
