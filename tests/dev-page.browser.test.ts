/**
 * The page of `convoy dev` in Chromium. Set CONVOY_TEST_SCREENSHOT to a folder to save screenshots, light and dark.
 */
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { launchChromium } from './chromium.js';
import { CommandLine, schema } from './command-line.js';

const functions = `import { z } from 'zod';
import { internalQuery, mutation, query } from '../_generated/server';

export const list = query({
  input: { room: z.string() },
  handler: (ctx, { room }) => ctx.db.query('messages').withIndex('by_room', (q) => q.eq('room', room)).collect(),
});
export const send = mutation({
  input: {
    room: z.string(),
    body: z.string().min(1),
    mood: z.enum(['calm', 'glad']).optional(),
    likes: z.number().optional(),
    pinned: z.boolean().optional(),
    tags: z.array(z.string()).optional(),
  },
  handler: (ctx, { room, body, likes = 0 }) => {
    console.log('a message for', room);
    return ctx.db.insert('messages', { room, body, likes });
  },
});
export const total = internalQuery({ handler: (ctx) => ctx.db.query('messages').count() });
`;

let app: CommandLine;
let browser: Browser;
let link = '';
beforeAll(async () => {
  app = await CommandLine.create({
    'convoy/schema.ts': schema(
      "  messages: defineTable({ room: z.string(), body: z.string(), likes: z.number() }).index('by_room', ['room']),",
    ),
    'convoy/functions/messages.ts': functions,
  });
  const command = app.start(['dev', '--port', '0', '--no-types']);
  [, link = ''] = await command.prints(/Page +(http:\S+)/);
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await app.remove();
});

async function open(address = link, colorScheme: 'light' | 'dark' = 'light'): Promise<Page> {
  const context = await browser.newContext({ colorScheme, viewport: { width: 1180, height: 760 } });
  const page = await context.newPage();
  await page.goto(address);
  return page;
}

async function save(page: Page, name: string): Promise<void> {
  const folder = process.env.CONVOY_TEST_SCREENSHOT;
  if (folder !== undefined) await page.screenshot({ path: join(folder, `dev-page-${name}.png`) });
}

const choose = (page: Page, name: string) => page.getByRole('button', { name }).click();

test('a function is called by its form, and another window shows the change', async () => {
  const reader = await open(link, 'dark');
  const errors: string[] = [];
  reader.on('pageerror', (error) => errors.push(error.message));
  await choose(reader, 'messages.list');
  expect(reader.url()).not.toContain('token');
  await reader.getByLabel('room').fill('hall');
  await reader.getByRole('button', { name: 'Run and follow' }).click();
  await reader.getByRole('heading', { name: 'Live result' }).waitFor();

  const writer = await open();
  await choose(writer, 'messages.send');
  await writer.getByLabel('room').fill('hall');
  await writer.getByLabel('body').fill('hello from the form');
  await writer.getByLabel('likes').fill('3');
  await writer.getByRole('button', { name: 'Call' }).click();
  await writer.getByText('"messages:').waitFor();
  await save(writer, 'light');

  await reader.getByText('"body": "hello from the form"').waitFor();
  await reader.getByText('"likes": 3').waitFor();
  await save(reader, 'dark');

  await choose(reader, 'messages.total');
  await reader.getByRole('button', { name: 'Run and follow' }).click();
  await reader.locator('#function pre', { hasText: /^1$/ }).waitFor();

  await reader.getByRole('link', { name: 'Tables' }).click();
  await choose(reader, 'messages');
  await reader.getByRole('cell', { name: 'hello from the form' }).waitFor();
  await writer.getByLabel('body').fill('the second one');
  await writer.getByRole('button', { name: 'Call' }).click();
  await reader.getByRole('cell', { name: 'the second one' }).waitFor();
  await save(reader, 'tables-dark');

  await choose(writer, 'messages.list');
  await writer.getByLabel('room').fill('hall');
  await writer.getByRole('button', { name: 'Run and follow' }).click();
  await reader.getByRole('link', { name: 'Live queries' }).click();
  await reader.getByRole('cell', { name: 'messages.list', exact: true }).waitFor();
  await save(reader, 'live-dark');
  await writer.getByRole('link', { name: 'Log' }).click();
  await writer.getByRole('log').getByText('a message for hall').waitFor();
  await save(writer, 'log-light');
  expect(errors).toEqual([]);
});

test('invalid input is shown with its reason, and the error of saved code until it is fixed', async () => {
  const page = await open();
  await choose(page, 'messages.send');
  await page.getByRole('button', { name: 'Call' }).click();
  await page.getByText('INVALID_ARGS').waitFor();
  await page.getByLabel('likes').fill('many');
  await page.getByRole('button', { name: 'Call' }).click();
  await page.getByText('likes is not a number.').waitFor();
  await app.write({ 'convoy/functions/messages.ts': `${functions}(` });
  await page.getByRole('alert').getByText('convoy/functions/messages.ts').waitFor();
  await save(page, 'problem-light');
  await app.write({ 'convoy/functions/messages.ts': functions.replaceAll('total', 'number') });
  await page.getByRole('alert').waitFor({ state: 'hidden' });
  await page.getByRole('button', { name: 'messages.number' }).waitFor();
});

test('without the token it says what to open', async () => {
  const page = await open(link.replace(/#.*/, ''));
  await page.getByRole('status').getByText('Open the link that convoy dev prints').waitFor();
  expect(await page.getByRole('button', { name: 'messages.list' }).count()).toBe(0);
});
