/**
 * `create-convoy-app` as users run it: each template from the packed packages, installed, type-checked, started, and
 * edited while two windows show it. Set CONVOY_TEST_SCREENSHOTS to a folder to save pictures.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import pg from 'pg';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { launchChromium } from './chromium.js';
import {
  followPage,
  freePort,
  type Packages,
  packPackages,
  type Running,
  type ScaffoldedApp,
  scaffold,
} from './scaffolded-app.js';

let packages: Packages;
let browser: Browser;

/** Includes the installation of packages. */
const INSTALL_MS = 300_000;

beforeAll(async () => {
  packages = await packPackages();
  browser = await launchChromium();
}, INSTALL_MS);

afterAll(async () => {
  await browser?.close();
  await packages?.remove();
});

async function openPage(address: string, colorScheme: 'light' | 'dark' = 'light'): Promise<Page> {
  const context = await browser.newContext({ colorScheme, viewport: { width: 960, height: 720 } });
  const page = await context.newPage();
  await page.goto(address);
  await page.getByText('Live', { exact: true }).waitFor();
  return page;
}

async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.CONVOY_TEST_SCREENSHOTS;
  if (folder === undefined) return;
  await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

async function send(page: Page, author: string, body: string): Promise<void> {
  await page.getByLabel('Your name').fill(author);
  await page.getByLabel('Message', { exact: true }).fill(body);
  await page.getByRole('button', { name: 'Send' }).click();
}

/** Whether a program listens at the host and port. */
async function accepts({ hostname, port }: URL): Promise<boolean> {
  const socket = connect({ host: hostname, port: Number(port) });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

const shows = (page: Page, text: string) => page.getByRole('listitem').filter({ hasText: text }).waitFor();

describe('the template react-vite', () => {
  let app: ScaffoldedApp;
  let dev: Running;
  let address: string;

  beforeAll(async () => {
    app = await scaffold(packages, 'my-app', ['--template', 'react-vite']);
    // No DATABASE_URL: as for users, Postgres is the embedded one.
    dev = app.start('npm', ['run', 'dev', '--', '--port', await freePort(), '--strictPort']);
    address = (await dev.prints(/Local:\s+(\S+)/))[1] ?? '';
  }, INSTALL_MS);

  afterAll(() => app?.stop());

  test('ends with the commands to type, and has types without errors', async () => {
    expect(app.printed).toMatch(/Now type:\n\n {2}cd my-app\n {2}npm install\n {2}npm run dev\n/);
    expect(await app.checkTypes()).toBe('');
  });

  test('has one address, after everything else', () => {
    expect(dev.output.match(/https?:\/\/\S+/g)).toEqual([address]);
    expect(dev.output.indexOf('Postgres')).toBeLessThan(dev.output.indexOf(address));
  });

  test('a message typed in one window appears in the other', async () => {
    const [light, dark] = [await openPage(address), await openPage(address, 'dark')];
    await picture(light, 'react-vite-empty');
    await send(light, 'Ada', 'Is anybody here?');
    await shows(dark, 'Is anybody here?');
    await send(dark, 'Grace', 'Just opened a second window.');
    await shows(light, 'Just opened a second window.');
    await light.getByRole('button', { name: 'Like the message of Grace, 0 so far' }).click();
    await dark.getByRole('button', { name: 'Like the message of Grace, 1 so far' }).waitFor();
    await picture(light, 'react-vite-light');
    await picture(dark, 'react-vite-dark');
    await light.context().close();
    await dark.context().close();
  });

  test('an edited function is live in an open page', async () => {
    const page = await openPage(address);
    await shows(page, 'Is anybody here?');
    const restore = await app.edit('convoy/functions/messages.ts', 'take(30)', 'take(1)');
    await page.getByRole('listitem').filter({ hasText: 'Is anybody here?' }).waitFor({ state: 'detached' });
    await restore();
    await shows(page, 'Is anybody here?');
    await page.context().close();
  });

  test.each([
    ['function', 'convoy/functions/messages.ts', 'handler: (ctx) =>', 'handler: (ctx) => =>', 'Unexpected "=>"'],
    ['schema', 'convoy/schema.ts', 'z.number().default(0)', 'z.date()', 'messages.likes'],
  ])(
    'the error in a broken %s is in the overlay of every page until it is fixed',
    async (_kind, file, from, to, text) => {
      const page = await openPage(address);
      await page.evaluate(() => Object.assign(window, { unreloaded: true }));
      const restore = await app.edit(file, from, to);
      onTestFinished(restore);
      const overlay = page.locator('vite-error-overlay');
      await overlay.locator('.message-body').filter({ hasText: text }).waitFor();
      expect(await overlay.locator('.file').textContent()).toMatch(new RegExp(`${file}:\\d+:\\d+`));
      expect(await overlay.locator('.frame').textContent()).toContain(to);
      await picture(page, `overlay-${_kind}`);
      const late = await openPage(address);
      await late.locator('vite-error-overlay').filter({ hasText: text }).waitFor();
      await restore();
      await overlay.waitFor({ state: 'detached' });
      await late.locator('vite-error-overlay').waitFor({ state: 'detached' });
      // The page that was open is the same one: it was not reloaded.
      expect(await page.evaluate(() => 'unreloaded' in window)).toBe(true);
      await send(page, 'Ada', `after the ${_kind}`);
      await shows(late, `after the ${_kind}`);
      await page.context().close();
      await late.context().close();
    },
  );

  test('a restart of Vite keeps Convoy and its connections', async () => {
    const page = await openPage(address);
    const api = `${address}api/ready`;
    await app.edit('vite.config.ts', 'convoy()]', 'convoy()], define: { changed: 1 }');
    await dev.prints(/server restarted/);
    expect((await fetch(api)).status).toBe(200);
    expect(dev.output.match(/Compiled/g)).toHaveLength(1);
    await page.context().close();
  });

  test('Ctrl-C stops Vite, Convoy and Postgres', async () => {
    const postgres = new URL((await dev.prints(/Postgres: (\S+)/))[1] ?? '');
    expect(await accepts(postgres)).toBe(true);
    await dev.stop();
    expect(await accepts(postgres)).toBe(false);
  });

  test('Convoy and Postgres stop when Vite is killed', async () => {
    const vite = app.start('node', ['node_modules/vite/bin/vite.js', '--port', await freePort(), '--strictPort']);
    const connectionString = (await vite.prints(/Postgres: (\S+)/))[1] ?? '';
    const psql = new pg.Client({ connectionString });
    // The connection ends with an error, which is what the test waits for.
    psql.on('error', () => {});
    await psql.connect();
    const ended = new Promise((resolve) => psql.once('end', resolve));
    await vite.stop('SIGKILL');
    await ended;
  });

  test('builds', async () => {
    const build = app.start('npm', ['run', 'build']);
    await build.prints(/built in/);
    expect(await app.read('dist/index.html')).toContain('<title>my-app</title>');
  });
});

test(
  'the example chat is complete outside of the repository',
  async () => {
    const app = await scaffold(packages, 'my-chat', ['--example', 'chat']);
    expect(await app.checkTypes()).toBe('');
    const env = { DATABASE_URL: freshDatabaseUrl() };
    const dev = app.start('npm', ['run', 'dev', '--', '--port', await freePort(), '--strictPort'], env);
    const page = await (await browser.newContext()).newPage();
    await page.goto((await dev.prints(/Local:\s+(\S+)/))[1] ?? '');
    await page.getByLabel('Your name').waitFor();
    await app.stop();
  },
  INSTALL_MS,
);

describe('docs/start.md', () => {
  let app: ScaffoldedApp;

  beforeAll(async () => {
    const page = await readFile(join(import.meta.dirname, '..', 'docs', 'start.md'), 'utf8');
    app = await followPage(packages, page);
  }, INSTALL_MS);

  afterAll(() => app?.stop());

  test('describes a project that runs, and whose types are complete', async () => {
    const dev = app.start('npm', ['run', 'dev', '--', '--port', await freePort(), '--strictPort'], {
      DATABASE_URL: freshDatabaseUrl(),
    });
    const address = (await dev.prints(/Local:\s+(\S+)/))[1] ?? '';
    const pages = await Promise.all([0, 1].map(async () => (await browser.newContext()).newPage()));
    for (const page of pages) await page.goto(address);
    await pages[0]?.getByLabel('Message').fill('from the page');
    await pages[0]?.getByRole('button', { name: 'Send' }).click();
    await pages[1]?.getByRole('listitem').filter({ hasText: 'from the page' }).waitFor();
    expect(await app.checkTypes()).toBe('');
  });
});

describe('the template node', () => {
  let app: ScaffoldedApp;

  beforeAll(async () => {
    app = await scaffold(packages, 'my-server', ['--template', 'node']);
  }, INSTALL_MS);

  afterAll(() => app?.stop());

  test('a line typed in one chat appears in the other', async () => {
    expect(await app.checkTypes()).toBe('');
    const port = await freePort();
    const env = { CONVOY_URL: `http://127.0.0.1:${port}` };
    const dev = app.start('npm', ['run', 'dev', '--', '--port', port], { DATABASE_URL: freshDatabaseUrl() });
    await dev.prints(new RegExp(`Server +http://127\\.0\\.0\\.1:${port}/api`));
    const [ada, grace] = ['Ada', 'Grace'].map((name) => app.start('npm', ['run', 'chat', name], env));
    ada?.type('Is anybody here?');
    await grace?.prints(/Ada: Is anybody here\?/);
    grace?.type('Just opened a second terminal.');
    await ada?.prints(/Grace: Just opened a second terminal\./);
  });
});
