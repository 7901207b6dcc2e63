/** Mutations in Chromium that survive the page: it is killed between click and commit, and each takes effect once. */
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { launchChromium } from './chromium.js';
import { PageServer } from './page-server.js';
import type { PersistedPage } from './persisted-page.js';

/** The time limit only turns a hang into a failure. */
const PATIENT = { timeout: 30_000 };

const schema = defineSchema({ numbers: defineTable({ n: z.number() }) });
const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();
const functions = {
  numbers: {
    list: query({ handler: async (ctx) => (await ctx.db.query('numbers').collect()).map(({ n }) => n) }),
    add: mutation({
      input: { n: z.number() },
      handler: async (ctx, { n }) => {
        await ctx.db.insert('numbers', { n });
        return n;
      },
    }),
  },
};

let browser: Browser;
let convoy: Convoy;
let pages: PageServer;
let context: BrowserContext;
beforeAll(async () => {
  browser = await launchChromium();
});
afterAll(() => browser.close());
beforeEach(async () => {
  convoy = await createConvoy({ databaseUrl: freshDatabaseUrl(), createDatabase: true, schema, functions });
  const { port } = await convoy.listen({ port: 0 });
  pages = await PageServer.start(join(import.meta.dirname, 'persisted-page.ts'), port);
  context = await browser.newContext();
  await context.addInitScript(() => {
    if (localStorage.getItem('scope') === null && !localStorage.getItem('signed out'))
      localStorage.setItem('scope', 'ann');
  });
});
afterEach(async () => {
  await context.close();
  await pages.close();
  await convoy.close();
});

type Window = { page: PersistedPage };

async function open(): Promise<Page> {
  const page = await context.newPage();
  await page.goto(pages.url);
  await page.waitForFunction(() => 'page' in window);
  return page;
}

const add = (page: Page, ...numbers: number[]) =>
  page.evaluate((numbers) => {
    for (const n of numbers) (window as unknown as Window).page.add(n);
  }, numbers);
const untilKept = (page: Page, count: number) =>
  expect.poll(() => page.evaluate(() => (window as unknown as Window).page.kept()), PATIENT).toBe(count);
const errors = (page: Page) => page.evaluate(() => (window as unknown as Window).page.errors);
const stored = async () => convoy.query({ kind: 'query', name: 'numbers.list' } as never, {} as never) as unknown;

/** Ends a page as a crash does: none of its code runs any more. */
async function kill(page: Page): Promise<void> {
  const crashed = page.waitForEvent('crash');
  const session = await context.newCDPSession(page);
  void session.send('Page.crash').catch(() => {});
  await crashed;
  await page.close();
}

test.each([
  ['the requests are sent', 'requests'],
  ['the first is committed, and its response is on its way', 'responses'],
] as const)('killed after %s', async (_when, lost) => {
  pages.lost = lost;
  const page = await open();
  await add(page, 1, 2, 3);
  await untilKept(page, 3);
  await expect.poll(() => pages.mutations.length, PATIENT).toBe(1);
  if (lost === 'responses') await expect.poll(stored, PATIENT).toEqual([1]);
  await kill(page);
  pages.lost = 'nothing';
  const next = await open();
  await add(next, 4);
  await expect.poll(stored, PATIENT).toEqual([1, 2, 3, 4]);
  await untilKept(next, 0);
  expect(await stored()).toEqual([1, 2, 3, 4]);
  expect(await errors(next)).toEqual([]);
  // The first was sent twice with the same key.
  expect(pages.mutations).toHaveLength(5);
  expect(new Set(pages.mutations).size).toBe(4);
});

test('killed again and again while it sends them', async () => {
  pages.slowMs = 30;
  let page = await open();
  await add(page, ...Array.from({ length: 20 }, (_, n) => n));
  await untilKept(page, 20);
  for (let round = 0; round < 6; round++) {
    await pause(40 + 20 * round);
    await kill(page);
    page = await open();
  }
  await untilKept(page, 0);
  expect(await stored()).toEqual(Array.from({ length: 20 }, (_, n) => n));
  expect(await errors(page)).toEqual([]);
});

test('while several pages are open, one of them sends those of a killed one', async () => {
  pages.lost = 'requests';
  const page = await open();
  await add(page, 1, 2, 3);
  await untilKept(page, 3);
  await expect.poll(() => pages.mutations.length, PATIENT).toBe(1);
  await kill(page);
  pages.lost = 'nothing';
  pages.slowMs = 50;
  const others = await Promise.all([open(), open(), open()]);
  await untilKept(others[0] as Page, 0);
  expect(await stored()).toEqual([1, 2, 3]);
  expect(pages.mutations).toHaveLength(4);
});

test('those of a living page are left to it', async () => {
  pages.lost = 'requests';
  const page = await open();
  await add(page, 1);
  await untilKept(page, 1);
  await expect.poll(() => pages.mutations.length, PATIENT).toBe(1);
  const other = await open();
  await add(other, 2);
  await expect.poll(() => pages.mutations.length, PATIENT).toBe(2);
  expect(new Set(pages.mutations).size).toBe(2);
});

test('not those of someone else, and none after a sign-out', async () => {
  pages.lost = 'requests';
  const page = await open();
  await add(page, 1);
  await untilKept(page, 1);
  await kill(page);
  pages.lost = 'nothing';
  const sent = pages.mutations.length;
  const next = await context.newPage();
  await next.addInitScript(() => localStorage.setItem('scope', 'bob'));
  await next.goto(pages.url);
  await add(next, 2);
  await expect.poll(stored, PATIENT).toEqual([2]);
  await untilKept(next, 1);
  expect(pages.mutations).toHaveLength(sent + 1);
  await next.evaluate(() => {
    const { page } = window as unknown as Window;
    page.signIn('ann');
    localStorage.setItem('signed out', 'yes');
    page.signIn(null);
  });
  await untilKept(next, 0);
  await next.close();
  await open();
  await pause(200);
  expect(await stored()).toEqual([2]);
});

test('one that fails is reported to the page that sends it', async () => {
  pages.lost = 'requests';
  const page = await open();
  await add(page, 'x' as never, 5);
  await untilKept(page, 2);
  await kill(page);
  pages.lost = 'nothing';
  const next = await open();
  await expect.poll(() => errors(next), PATIENT).toEqual(['INVALID_ARGS {"n":"x"}']);
  await expect.poll(stored, PATIENT).toEqual([5]);
  await untilKept(next, 0);
});
