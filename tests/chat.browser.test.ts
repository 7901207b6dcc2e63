/**
 * The chat example as users run it: Vite with Convoy in it, and two windows in Chromium. Set CONVOY_TEST_SCREENSHOT to
 * a file to save a screenshot.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { freePort } from './free-port.js';

const root = join(import.meta.dirname, '..');
const chat = join(root, 'examples', 'chat');
const databaseUrl = freshDatabaseUrl();
const processes: ChildProcess[] = [];
const contexts: BrowserContext[] = [];
const folders: string[] = [];
let address = '';

/** Starts a program; resolves with its output once that matches `ready`. */
async function start(command: string, args: string[], env: Record<string, string>, ready: RegExp): Promise<string> {
  const child = spawn(command, args, { cwd: chat, env: { ...process.env, NO_COLOR: '1', ...env } });
  processes.push(child);
  let printed = '';
  return new Promise((resolve, reject) => {
    const onOutput = (chunk: Buffer) => {
      printed += chunk.toString();
      if (ready.test(printed)) resolve(printed);
    };
    child.stdout.on('data', onOutput);
    child.stderr.on('data', onOutput);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${command} ${args.join(' ')} ended with ${code}:\n${printed}`)));
  });
}

/** A window with its own browser profile, which shares only the server with the others. */
async function window(name: string): Promise<Page> {
  const executablePath = process.env.CONVOY_TEST_CHROMIUM;
  if (executablePath === undefined) throw new Error('CONVOY_TEST_CHROMIUM is not set; `npm test` finds a browser.');
  const profile = await mkdtemp(join(tmpdir(), 'convoy-chromium-'));
  folders.push(profile);
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    viewport: { width: 1180, height: 760 },
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  contexts.push(context);
  const page = context.pages()[0] ?? (await context.newPage());
  await page.goto(address);
  await page.getByLabel('Your name').fill(name);
  await page.getByRole('button', { name: 'Join the chat' }).click();
  await page.getByTestId('connection').and(page.locator('[data-state=open]')).waitFor();
  return page;
}

async function sendMessage(page: Page, text: string): Promise<void> {
  await page.getByRole('textbox', { name: 'Message #general' }).fill(text);
  await page.getByRole('textbox', { name: 'Message #general' }).press('Enter');
}

const shows = (page: Page, text: string) => page.getByTestId('message').filter({ hasText: text }).waitFor();

beforeAll(async () => {
  const port = String(await freePort());
  const vite = join(root, 'node_modules', 'vite', 'bin', 'vite.js');
  const flags = ['--host', '127.0.0.1', '--port', port, '--strictPort'];
  await start(process.execPath, [vite, ...flags], { DATABASE_URL: databaseUrl }, new RegExp(`:${port}`));
  address = `http://127.0.0.1:${port}/`;
});

afterAll(async () => {
  for (const context of contexts) await context.close();
  for (const child of processes) {
    if (child.exitCode !== null) continue;
    child.removeAllListeners('exit');
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

test('a message sent in one window appears in the other, and a row inserted with SQL in both', async () => {
  const ada = await window('Ada');
  const grace = await window('Grace');
  await ada.getByTestId('people').getByText('Grace').waitFor();

  await sendMessage(ada, 'Is anybody here?');
  await shows(grace, 'Is anybody here?');
  await sendMessage(grace, 'Just opened a second window. It was already there.');
  await shows(ada, 'It was already there.');

  const psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
  await psql.query(
    `insert into messages (data)
     select jsonb_build_object('channelId', 'channels:' || id, 'author', 'psql', 'body', 'Inserted by hand, without Convoy.')
     from channels where data ->> 'name' = 'general'`,
  );
  await psql.end();
  await Promise.all([shows(ada, 'Inserted by hand'), shows(grace, 'Inserted by hand')]);
  expect(await grace.getByTestId('message').count()).toBe(3);

  const picture = process.env.CONVOY_TEST_SCREENSHOT;
  if (picture !== undefined) {
    await ada.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
    await ada.screenshot({ path: picture });
  }
});

test('a window without a network shows that on the page, and logs no error', async () => {
  const page = await window('Alan');
  await page.context().setOffline(true);
  await page.getByTestId('connection').and(page.locator('[data-state=connecting]')).waitFor();
  // The connection is lost shortly before the page is told that there is no network.
  await page.waitForFunction(() => !navigator.onLine);
  const logged: string[] = [];
  page.on('console', (message) => logged.push(`${message.type()}: ${message.text()}`));
  // Without this event the next heartbeat of the chat would come after ten seconds.
  const nextBeat = page.waitForEvent('requestfailed', { timeout: 1_000 }).catch(() => null);
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await nextBeat;
  expect(logged).toEqual([]);
  await page.context().setOffline(false);
  await page.getByTestId('connection').and(page.locator('[data-state=open]')).waitFor();
});
