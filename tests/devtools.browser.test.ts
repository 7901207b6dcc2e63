/** The devtools in Chromium, on a page whose mutation takes as long as the test wants. */
import { join } from 'node:path';
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { launchChromium } from './chromium.js';
import { PageServer } from './page-server.js';

const schema = defineSchema({
  notes: defineTable({ room: z.string(), text: z.string() }).index('by_room', ['room']),
});
const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();
const functions = {
  notes: {
    list: query({
      input: { room: z.string() },
      handler: (ctx, { room }) =>
        ctx.db
          .query('notes')
          .withIndex('by_room', (q) => q.eq('room', room))
          .collect(),
    }),
    add: mutation({
      input: { room: z.string(), text: z.string() },
      handler: async (ctx, note) => {
        await ctx.db.insert('notes', note);
        await gate;
      },
    }),
  },
};

/** What every mutation waits for before it ends. */
let gate: Promise<void> = Promise.resolve();

let browser: Browser;
beforeAll(async () => {
  browser = await launchChromium();
});
afterAll(() => browser.close());

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function open(): Promise<{ page: Page; pages: PageServer; insert: (text: string) => Promise<unknown> }> {
  const convoy = await createConvoy({ schema, functions, databaseUrl: freshDatabaseUrl(), createDatabase: true });
  closing.push(() => convoy.close());
  const { port } = await convoy.listen({ port: 0 });
  const insert = (text: string) =>
    convoy.mutation({ kind: 'mutation', name: 'notes.add' } as never, { room: 'hall', text } as never);
  await insert('first');
  const pages = await PageServer.start(join(import.meta.dirname, 'devtools-page.ts'), port, { mode: 'development' });
  closing.push(() => pages.close());
  const page = await browser.newPage();
  closing.push(() => page.close());
  await page.goto(pages.url);
  await page.getByText('first').waitFor();
  return { page, pages, insert };
}

test('show the queries, what is received, and an optimistic update while its mutation is in progress', async () => {
  const { page, pages, insert } = await open();
  await page.getByRole('button', { name: 'Open the Convoy devtools' }).click();
  const panel = page.getByRole('region', { name: 'Convoy devtools' });
  const row = panel.getByRole('row').filter({ hasText: 'notes.list {"room":"hall"}' });
  await row.getByText('current').waitFor();

  let release = () => {};
  gate = new Promise((resolve) => {
    release = resolve;
  });
  await page.getByRole('button', { name: 'Send' }).click();
  await row.getByText('optimistic').waitFor();
  await row.getByRole('button').click();
  await panel.getByText('Changed by the optimistic update of notes.add.').waitFor();
  await panel.getByRole('tab', { name: /Mutations 1/ }).click();
  const pending = panel.getByRole('row').filter({ hasText: '"text":"from the page"' });
  expect(await pending.innerText()).toContain('notes.list {"room":"hall"}');

  release();
  await panel.getByRole('tab', { name: /Mutations 0/ }).waitFor();
  await panel.getByRole('tab', { name: /Queries/ }).click();
  await row.getByText('current').waitFor();
  pages.cut();
  await insert('from elsewhere');
  await page.getByRole('listitem').filter({ hasText: 'from elsewhere' }).waitFor();
  await panel.getByRole('tab', { name: /Events/ }).click();
  const events = panel.getByRole('table');
  await events.getByRole('row').filter({ hasText: 'result' }).first().waitFor();
  await events.getByRole('row').filter({ hasText: 'settled' }).first().waitFor();
  await events.getByRole('row').filter({ hasText: 'lost; the client waits' }).first().waitFor();

  await page.keyboard.press('ArrowLeft');
  expect(await panel.getByRole('tab', { name: /Mutations/ }).getAttribute('aria-selected')).toBe('true');
  await page.keyboard.press('Escape');
  const launcher = page.getByRole('button', { name: 'Open the Convoy devtools' });
  await launcher.waitFor();
  expect(await launcher.evaluate((button) => button === document.activeElement)).toBe(true);
});
