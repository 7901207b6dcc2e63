/**
 * The chat example as one process on one port: `vite build`, `convoy build`, `convoy start`, in Chromium. Set
 * CONVOY_TEST_SCREENSHOT to a file to save a screenshot.
 */
import { execFile } from 'node:child_process';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type BrowserContext, chromium } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CommandLine } from './command-line.js';

const repository = join(import.meta.dirname, '..');
const chat = join(repository, 'examples', 'chat');

let app: CommandLine;
let browser: BrowserContext | null = null;
beforeAll(async () => {
  app = await CommandLine.create({ 'convoy.config.ts': "export default { static: './dist' };" });
  await cp(join(chat, 'convoy'), join(app.root, 'convoy'), { recursive: true });
  const vite = join(repository, 'node_modules', 'vite', 'bin', 'vite.js');
  await promisify(execFile)(process.execPath, [vite, 'build', '--outDir', join(app.root, 'dist')], { cwd: chat });
  for (const command of ['build', 'migrate']) {
    const done = await app.run([command]);
    expect(done.code, done.stdout).toBe(0);
  }
});
afterAll(async () => {
  await browser?.close();
  await app.remove();
});

test('the page loads, is live, and a deep link survives a reload', async () => {
  const { origin } = new URL((await app.serve()).url);
  const executablePath = process.env.CONVOY_TEST_CHROMIUM;
  if (executablePath === undefined) throw new Error('CONVOY_TEST_CHROMIUM is not set; `npm test` finds a browser.');
  browser = await chromium.launchPersistentContext(join(app.root, 'profile'), {
    executablePath,
    headless: true,
    viewport: { width: 1180, height: 760 },
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
  });
  const page = browser.pages()[0] ?? (await browser.newPage());
  const failures: string[] = [];
  page.on('pageerror', (error) => failures.push(error.message));
  page.on('response', (response) => {
    if (response.status() >= 400) failures.push(`${response.status()} ${response.url()}`);
  });
  await page.goto(origin);
  await page.getByLabel('Your name').fill('Ada');
  await page.getByRole('button', { name: 'Join the chat' }).click();
  await page.getByTestId('connection').and(page.locator('[data-state=open]')).waitFor();
  await page.getByRole('textbox', { name: 'Message #general' }).fill('One process, one port.');
  await page.getByRole('textbox', { name: 'Message #general' }).press('Enter');
  const message = page.getByTestId('message').filter({ hasText: 'One process, one port.' });
  await message.waitFor();

  // Another program writes, and the page shows it.
  await app.query(
    `insert into messages (data)
     select jsonb_build_object('channelId', 'channels:' || id, 'author', 'psql', 'body', 'Served beside the API.')
     from channels where data ->> 'name' = 'general'`,
  );
  await page.getByTestId('message').filter({ hasText: 'Served beside the API.' }).waitFor();

  await page.goto(`${origin}/rooms/general?from=mail`);
  await page.reload();
  await message.waitFor();
  await page.getByTestId('connection').and(page.locator('[data-state=open]')).waitFor();
  expect(failures).toEqual([]);
  const picture = process.env.CONVOY_TEST_SCREENSHOT;
  if (picture !== undefined) {
    await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
    await page.screenshot({ path: picture });
  }
}, 120_000);
