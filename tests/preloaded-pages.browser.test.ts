/**
 * The example vite-ssr in Chromium, in development and as a build: its HTML is complete without scripts, and with them
 * the page goes on from it without another run, transfer or text, and is live.
 */
import { type ChildProcess, execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import pg from 'pg';
import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { launchChromium } from './chromium.js';
import { holdScripts, recordPage } from './recorded-page.js';
import { freePort } from './scaffolded-app.js';

const example = join(import.meta.dirname, '../examples/vite-ssr');
const add = makeMutationRef<{ text: string }, unknown>('tasks.add');
const mine = makeQueryRef<Record<string, never>, unknown>('tasks.mine');
/** The time limit only turns a hang into a failure. */
const PATIENT = { timeout: 30_000 };
const HOSTILE = '</script><script>window.hacked = true</script><img src=x onerror="window.hacked = true"> $& <!--';

let browser: Browser;
beforeAll(async () => {
  browser = await launchChromium();
});
afterAll(() => browser.close());

describe.each(['development', 'production'])('in %s', (mode) => {
  const databaseUrl = freshDatabaseUrl();
  let server: ChildProcess;
  let address: string;
  let context: BrowserContext;

  beforeAll(async () => {
    if (mode === 'production') await buildExample();
    await createDatabase(databaseUrl);
    const port = await freePort();
    address = `http://localhost:${port}`;
    server = fork(join(import.meta.dirname, 'programs/vite-ssr.mjs'), {
      env: { ...process.env, NODE_ENV: mode, PORT: port, DATABASE_URL: databaseUrl },
      silent: true,
    });
    await listening(server);
    // Development compiles for the first page, which takes longer than the server keeps a preloaded result.
    context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(address);
    await page.getByLabel('Task').fill('first');
    await page.getByRole('button', { name: 'Add' }).click();
    await page.getByRole('listitem').waitFor();
    await context.close();
  }, 120_000);
  afterEach(() => context.close());
  afterAll(async () => {
    server.kill('SIGTERM');
    await once(server, 'exit');
  });

  /** Windows of one visitor, with these tasks. */
  async function visitor(name: string, tasks: readonly string[], javaScriptEnabled = true): Promise<Visitor> {
    const client = createConvoyClient({ baseUrl: address, headers: { cookie: `visitor=${name}` } });
    for (const text of tasks) await client.mutation(add, { text });
    context = await browser.newContext({ javaScriptEnabled });
    await context.addCookies([{ name: 'visitor', value: name, url: address }]);
    const page = await context.newPage();
    return { page, add: (text) => client.mutation(add, { text }), read: () => client.query(mine, {}) };
  }

  /** Runs of handlers and contexts since the server has started. */
  async function runs(): Promise<number> {
    server.send('stats');
    const [stats] = (await once(server, 'message')) as [Record<string, number>];
    return stats.handlerRuns ?? 0;
  }

  test('the list is in the HTML, which no cache keeps', async () => {
    const { page } = await visitor(`${mode}-html`, ['milk', HOSTILE], false);
    const response = await page.goto(address);
    expect(response?.headers()['cache-control']).toBe('private, no-store');
    expect(await page.locator('li').allTextContents()).toEqual([HOSTILE, 'milk']);
  });

  test('a page goes on from its HTML without a run, a transfer or another text, and is live', async () => {
    const { page, add, read } = await visitor(`${mode}-live`, ['milk', HOSTILE]);
    const { recording, errors } = await recordPage(page);
    const scripts = await holdScripts(page);
    const before = await runs();
    await page.goto(address, { waitUntil: 'commit' });
    await page.getByRole('listitem').filter({ hasText: 'milk' }).waitFor();
    // The context and the query. While results of other visitors are in memory, the context once more, to find out that
    // none of them is for this one.
    expect([2, 3]).toContain((await runs()) - before);
    // The changes before the page have been read from the log: a call is answered from memory, with a run of the context.
    await vi.waitFor(async () => {
      const before = await runs();
      await read();
      expect(await runs()).toBe(before + 1);
    }, PATIENT);
    const atHydration = await runs();
    scripts.release();
    await expect.poll(async () => (await recording()).live, PATIENT).toContain('"same"');
    // The context of the session.
    expect(await runs()).toBe(atHydration + 1);
    const { texts, live, calls } = await recording();
    expect(texts).toHaveLength(1);
    expect(texts.at(-1)).toContain(`${HOSTILE}\nmilk`);
    expect(live).not.toContain('milk');
    expect(calls.filter((path) => path.startsWith('/api/query'))).toEqual([]);

    await add('bread');
    await page.getByRole('listitem').filter({ hasText: 'bread' }).waitFor();
    await page.getByLabel('Task').fill('eggs');
    await page.getByRole('button', { name: 'Add' }).click();
    await page.getByRole('listitem').filter({ hasText: 'eggs' }).waitFor();
    expect(await page.evaluate(() => 'hacked' in window)).toBe(false);
    expect(errors).toEqual([]);
  });

  test('a change between the HTML and its hydration appears', async () => {
    const { page, add } = await visitor(`${mode}-between`, ['milk']);
    const { recording, errors } = await recordPage(page);
    const scripts = await holdScripts(page);
    await page.goto(address, { waitUntil: 'commit' });
    await page.getByRole('listitem').filter({ hasText: 'milk' }).waitFor();
    await add('bread');
    scripts.release();
    await page.getByRole('listitem').filter({ hasText: 'bread' }).waitFor();
    const { texts } = await recording();
    expect(texts).toEqual([expect.stringMatching(/^Tasks\s+Add\s+milk$/), expect.stringContaining('bread')]);
    expect(errors).toEqual([]);
  });

  test('each visitor has a list of its own, and a new one an empty list and a cookie', async () => {
    const { page } = await visitor(`${mode}-ada`, ['of Ada']);
    await page.goto(address);
    expect(await page.locator('li').allTextContents()).toEqual(['of Ada']);
    await context.clearCookies();
    await page.reload();
    expect(await page.locator('li').count()).toBe(0);
    expect(await context.cookies()).toMatchObject([{ name: 'visitor', httpOnly: true, sameSite: 'Lax' }]);
    await page.getByLabel('Task').fill('of a new visitor');
    await page.getByRole('button', { name: 'Add' }).click();
    await page.getByRole('listitem').filter({ hasText: 'of a new visitor' }).waitFor();
  });
});

interface Visitor {
  readonly page: Awaited<ReturnType<BrowserContext['newPage']>>;
  add(text: string): Promise<unknown>;
  read(): Promise<unknown>;
}

async function createDatabase(url: string): Promise<void> {
  const admin = new pg.Client({ connectionString: process.env.CONVOY_TEST_DATABASE_URL });
  await admin.connect();
  await admin.query(`create database ${new URL(url).pathname.slice(1)}`);
  await admin.end();
}

/** As its users do; the variable is `test` here. */
async function buildExample(): Promise<void> {
  const env = { ...process.env, NODE_ENV: 'production' };
  await promisify(execFile)('npm', ['run', 'build'], { cwd: example, env });
}

/** Waits until a server prints its address. */
function listening(server: ChildProcess): Promise<void> {
  let printed = '';
  return new Promise((resolve, reject) => {
    for (const output of [server.stdout, server.stderr]) {
      output?.on('data', (text: Buffer) => {
        printed += text.toString();
        if (printed.includes('➜')) resolve();
      });
    }
    server.once('exit', (code) => reject(new Error(`the server ended with ${code}:\n${printed}`)));
  });
}
