/**
 * The bindings for Vue, Svelte, Solid and TanStack Query in Chromium, each with the same page: what one page sends, the
 * other one shows.
 */
import { join } from 'node:path';
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { svelte } from './bindings/svelte-plugin.js';
import { launchChromium } from './chromium.js';
import { PageServer } from './page-server.js';

/** The time limit only turns a hang into a failure. */
const PATIENT = { timeout: 30_000 };

const schema = defineSchema({
  messages: defineTable({ room: z.string(), body: z.string() }).index('by_room', ['room']),
});
const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();
const functions = {
  messages: {
    list: query({
      input: { room: z.string() },
      handler: (ctx, { room }) =>
        ctx.db
          .query('messages')
          .withIndex('by_room', (q) => q.eq('room', room))
          .collect(),
    }),
    send: mutation({
      input: { room: z.string(), body: z.string() },
      handler: (ctx, message) => ctx.db.insert('messages', message),
    }),
  },
};

let browser: Browser;
const closing: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  browser = await launchChromium();
});
afterAll(() => browser.close());
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function serve(name: string): Promise<PageServer> {
  const convoy = await createConvoy({ databaseUrl: freshDatabaseUrl(), createDatabase: true, schema, functions });
  closing.push(() => convoy.close());
  const { port } = await convoy.listen({ port: 0 });
  const pages = await PageServer.start(join(import.meta.dirname, `bindings/${name}-page.ts`), port, {
    plugins: [svelte],
  });
  closing.push(() => pages.close());
  return pages;
}

/** Opens the page, and waits until the live query of its first room has a result. */
async function open(pages: PageServer, errors: string[]): Promise<Page> {
  const page = await browser.newPage();
  closing.push(() => page.close());
  page.on('pageerror', ({ message }) => errors.push(message));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  const response = page.waitForResponse((each) => each.url().endsWith('/api/live'));
  await page.goto(pages.url);
  await response;
  await page.locator('ul').waitFor({ state: 'attached' });
  return page;
}

const go = async (page: Page, room: string) => {
  await page.getByRole('button', { name: room }).click();
  await page.getByRole('heading', { name: room }).waitFor();
};
const send = async (page: Page, body: string) => {
  await page.locator('input').fill(body);
  await page.getByRole('button', { name: 'Send' }).click();
};
const shown = (page: Page) => expect.poll(() => page.getByRole('listitem').allInnerTexts(), PATIENT);

test.each(['vue', 'svelte', 'solid', 'tanstack'])(
  '%s: a page shows what another one sends, follows its arguments, and ends its subscription when it is left',
  async (name) => {
    const pages = await serve(name);
    const errors: string[] = [];
    const [ada, grace] = [await open(pages, errors), await open(pages, errors)];

    await send(ada, 'Is anybody here?');
    await shown(grace).toEqual(['Is anybody here?']);
    await shown(ada).toEqual(['Is anybody here?']);

    await go(grace, 'attic');
    await shown(grace).toEqual([]);
    await send(grace, 'Up here.');
    await shown(grace).toEqual(['Up here.']);
    await shown(ada).toEqual(['Is anybody here?']);
    await go(ada, 'attic');
    await shown(ada).toEqual(['Up here.']);
    await send(ada, 'Coming.');
    await shown(grace).toEqual(['Up here.', 'Coming.']);

    // The optimistic update, which no server has seen.
    pages.lost = 'requests';
    await send(ada, 'Never sent.');
    await shown(ada).toEqual(['Up here.', 'Coming.', 'Never sent.']);

    await grace.getByRole('button', { name: 'Leave' }).click();
    await grace.locator('section').waitFor({ state: 'detached' });
    await expect.poll(() => pages.openRequests, PATIENT).toBe(1);
    await ada.getByRole('button', { name: 'Leave' }).click();
    await expect.poll(() => pages.openRequests, PATIENT).toBe(0);
    expect(errors).toEqual([]);
  },
);
