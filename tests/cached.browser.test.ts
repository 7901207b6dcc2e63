/** Results of live queries in Chromium that survive the page, for one user of a computer and not for the next. */
import { join } from 'node:path';
import {
  type BaseContext,
  ConvoyError,
  createFunctionHelpers,
  type DataModelOf,
  defineSchema,
  defineTable,
} from '@avvos/convoy';
import { makeMutationRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import type { CachedPage } from './cached-page.js';
import { launchChromium } from './chromium.js';
import { PageServer } from './page-server.js';

/** The time limit only turns a hang into a failure. */
const PATIENT = { timeout: 30_000 };

const schema = defineSchema({ notes: defineTable({ owner: z.string(), text: z.string() }) });
const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>> & { owner: string }>();
const functions = {
  notes: {
    mine: query({
      handler: async (ctx) => {
        const notes = await ctx.db.query('notes').collect();
        return notes.filter(({ owner }) => owner === ctx.owner).map(({ text }) => text);
      },
    }),
    add: mutation({
      input: { owner: z.string(), text: z.string() },
      handler: (ctx, note) => ctx.db.insert('notes', note),
    }),
  },
};
const add = makeMutationRef<{ owner: string; text: string }, string>('notes.add');

let browser: Browser;
let convoy: Convoy;
let pages: PageServer;
let context: BrowserContext;
beforeAll(async () => {
  browser = await launchChromium();
});
afterAll(() => browser.close());
beforeEach(async () => {
  convoy = await createConvoy({
    databaseUrl: freshDatabaseUrl(),
    createDatabase: true,
    schema,
    functions,
    createContext: ({ headers }, base) => {
      const owner = String(headers.authorization ?? '').slice('Bearer '.length);
      if (owner === '') throw new ConvoyError('UNAUTHORIZED', 'Sign in.');
      return { ...base, owner };
    },
  });
  const { port } = await convoy.listen({ port: 0 });
  pages = await PageServer.start(join(import.meta.dirname, 'cached-page.ts'), port);
  context = await browser.newContext();
  await write('ann', "ann's secret");
});
afterEach(async () => {
  await context.close();
  await pages.close();
  await convoy.close();
});

const write = (owner: string, text: string) => convoy.mutation(add, { owner, text }, { context: { owner } });

type Window = { page: CachedPage };

async function open(): Promise<Page> {
  const page = await context.newPage();
  await page.goto(pages.url);
  await page.waitForFunction(() => 'page' in window);
  return page;
}
const seen = (page: Page) => page.evaluate(() => (window as unknown as Window).page.seen);
const stored = (page: Page) => page.evaluate(() => (window as unknown as Window).page.stored());
const signIn = (page: Page, user: string | null) =>
  page.evaluate((user) => (window as unknown as Window).page.signIn(user), user);

/** Signs in as `user` on a new page, whose results are stored. */
async function visit(user: string, note: string): Promise<void> {
  const page = await open();
  await signIn(page, user);
  await page.reload();
  await page.waitForFunction(() => 'page' in window);
  await expect.poll(async () => (await seen(page)).at(-1), PATIENT).toEqual({ notes: [note], isStale: false });
  await expect.poll(() => stored(page), PATIENT).toContain(note);
  await page.close();
}

test('the next visit shows the last state before the server answers, and then what has changed', async () => {
  await visit('ann', "ann's secret");
  await write('ann', 'written meanwhile');
  const page = await open();
  await expect.poll(async () => (await seen(page)).at(-1)?.notes, PATIENT).toHaveLength(2);
  expect((await seen(page))[0]).toEqual({ notes: ["ann's secret"], isStale: true });
});

test('a page that cannot reach its server shows the last state', async () => {
  await visit('ann', "ann's secret");
  await convoy.close();
  const page = await open();
  await expect.poll(() => seen(page), PATIENT).toContainEqual({ notes: ["ann's secret"], isStale: true });
});

test('the next user of the computer sees nothing of the one before, who has not signed out', async () => {
  await write('bob', "bob's own");
  await visit('ann', "ann's secret");
  const page = await open();
  await signIn(page, 'bob');
  await page.reload();
  await page.waitForFunction(() => 'page' in window);
  await expect.poll(async () => (await seen(page)).at(-1)?.notes, PATIENT).toEqual(["bob's own"]);
  expect((await seen(page)).flatMap(({ notes }) => notes)).not.toContain("ann's secret");
  await expect.poll(() => stored(page), PATIENT).not.toContain('secret');
});

test('signing out leaves nothing in the browser', async () => {
  await visit('ann', "ann's secret");
  const page = await open();
  await signIn(page, null);
  await expect.poll(() => stored(page), PATIENT).toBe('');
});
