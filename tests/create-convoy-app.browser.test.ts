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
import { afterAll, beforeAll, describe, expect, onTestFailed, onTestFinished, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { hides, openPage, picture, send, shows, talkInTwoWindows } from './chat-page.js';
import { launchChromium } from './chromium.js';
import { LONG } from './model/random.js';
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

/** Engines that are connected to the database: each listens on one connection. */
async function engines(connectionString: string): Promise<number> {
  const database = new pg.Client({ connectionString });
  await database.connect();
  const { rowCount } = await database.query(
    `select from pg_stat_activity
     where datname = current_database() and application_name = 'convoy' and query ilike 'listen%'`,
  );
  await database.end();
  return rowCount ?? 0;
}

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
    expect(await talkInTwoWindows(browser, address, 'react-vite')).toEqual([]);
  });

  test('an edited function is live in an open page', async () => {
    const page = await openPage(browser, address);
    await shows(page, 'Is anybody here?');
    const restore = await app.edit('convoy/functions/messages.ts', 'take(30)', 'take(1)');
    await hides(page, 'Is anybody here?');
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
      const page = await openPage(browser, address);
      await page.evaluate(() => Object.assign(window, { unreloaded: true }));
      const restore = await app.edit(file, from, to);
      onTestFinished(restore);
      const overlay = page.locator('vite-error-overlay');
      await overlay.locator('.message-body').filter({ hasText: text }).waitFor();
      expect(await overlay.locator('.file').textContent()).toMatch(new RegExp(`${file}:\\d+:\\d+`));
      expect(await overlay.locator('.frame').textContent()).toContain(to);
      await picture(page, `overlay-${_kind}`);
      const late = await openPage(browser, address);
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

  test('Ctrl-C stops Vite, Convoy and Postgres', async () => {
    const postgres = new URL((await dev.prints(/Postgres: (\S+)/))[1] ?? '');
    expect(await accepts(postgres)).toBe(true);
    await dev.stop();
    expect(await accepts(postgres)).toBe(false);
  });

  test('a restart of Vite keeps Convoy and its connections', async () => {
    // Polls files, since other programs of the user may hold all of the 128 instances of inotify.
    const polling = { CHOKIDAR_USEPOLLING: '1' };
    const vite = app.start('npm', ['run', 'dev', '--', '--port', await freePort(), '--strictPort'], polling);
    onTestFailed(() => console.log(vite.output));
    const address = (await vite.prints(/Local:\s+(\S+)/))[1] ?? '';
    const page = await openPage(browser, address);
    const restore = await app.edit('vite.config.ts', 'convoy()]', 'convoy()], define: { changed: 1 }');
    await vite.prints(/server restarted/);
    const ready = await fetch(`${address}api/ready`, { signal: AbortSignal.timeout(30_000) });
    expect(ready.status).toBe(200);
    expect(vite.output.match(/Compiled/g)).toHaveLength(1);
    await page.context().close();
    await vite.stop();
    await restore();
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

/** The templates whose own server passes requests to Convoy. */
const SERVERS = [
  {
    template: 'express',
    address: /➜ +(\S+)/,
    isLong: false,
    /** What reads the messages without the page. */
    read: async (address: string) => (await fetch(`${address}messages`)).text(),
    /** What an open page does while a function is broken. */
    async whileBroken(page: Page) {
      await send(page, 'Ada', 'while it is broken');
      await shows(page, 'while it is broken');
    },
  },
  {
    template: 'nextjs',
    address: /Local: +(\S+)/,
    // Next.js is 200 MB, and a build takes half a minute.
    isLong: true,
    read: async (address: string) => (await fetch(address)).text(),
    async whileBroken(page: Page) {
      await page.locator('nextjs-portal').getByText('convoy/functions/messages.ts').first().waitFor();
      await picture(page, 'nextjs-overlay');
    },
  },
];

for (const { template, address: pattern, isLong, read, whileBroken } of SERVERS) {
  describe.skipIf(isLong && !LONG)(`the template ${template}`, { timeout: isLong ? 180_000 : 60_000 }, () => {
    let app: ScaffoldedApp;
    let dev: Running;
    let address: string;

    beforeAll(async () => {
      app = await scaffold(packages, `my-${template}`, ['--template', template]);
      dev = app.start('npm', ['run', 'dev'], { PORT: await freePort(), NEXT_TELEMETRY_DISABLED: '1' });
      address = (await dev.prints(pattern))[1] ?? '';
    }, INSTALL_MS);

    afterAll(() => app?.stop());

    test('has types without errors', async () => {
      expect(await app.checkTypes()).toBe('');
      await app.start('npm', ['run', 'check']).succeeds();
    });

    test('has one address, after everything else', () => {
      expect(new Set(dev.output.match(/https?:\/\/\S+/g))).toEqual(new Set([address]));
      expect(dev.output.indexOf('Postgres')).toBeLessThan(dev.output.indexOf(address));
    });

    test('a message typed in one window appears in the other', async () => {
      expect(await talkInTwoWindows(browser, address, template)).toEqual([]);
    });

    test('a page or route of its own has the messages, too', async () => {
      expect(await read(address)).toContain('Just opened a second window.');
    });

    test('an edited function is live in an open page', async () => {
      const page = await openPage(browser, address);
      await shows(page, 'Is anybody here?');
      await page.evaluate(() => Object.assign(window, { unreloaded: true }));
      const restore = await app.edit('convoy/functions/messages.ts', 'take(30)', 'take(1)');
      onTestFinished(restore);
      await hides(page, 'Is anybody here?');
      await restore();
      await shows(page, 'Is anybody here?');
      expect(await page.evaluate(() => 'unreloaded' in window)).toBe(true);
      await page.context().close();
    });

    test('a broken function is reported, and live again when it is fixed', async () => {
      const page = await openPage(browser, address);
      const restore = await app.edit('convoy/functions/messages.ts', 'handler: (ctx) =>', 'handler: (ctx) => =>');
      onTestFinished(restore);
      await dev.prints(/Unexpected "=>"|Expected .* but found "=>"/);
      await whileBroken(page);
      await restore();
      await shows(page, 'Is anybody here?');
      await page.getByText('Live', { exact: true }).waitFor();
      await send(page, 'Ada', 'after it is fixed');
      await shows(page, 'after it is fixed');
      await page.context().close();
    });

    test('Ctrl-C stops the server and Postgres', async () => {
      const postgres = new URL((await dev.prints(/Postgres +(postgres:\S+)/))[1] ?? '');
      expect(await accepts(postgres)).toBe(true);
      const page = await openPage(browser, address);
      await dev.stop();
      expect(await accepts(postgres)).toBe(false);
      expect(await accepts(new URL(address))).toBe(false);
      await page.context().close();
    });

    // Each step is a program that starts; `builds` and tests/build-start.test.ts are the same in the quick lane.
    test.skipIf(!LONG)('is built without a database, and served; SIGTERM ends it while a page is open', async () => {
      await app.start('npm', ['run', 'build']).succeeds();
      const env = { DATABASE_URL: freshDatabaseUrl(), PORT: await freePort() };
      await app.start('npx', ['convoy', 'migrate'], env).succeeds();
      const server = app.start('npm', ['start'], env);
      const served = (await server.prints(pattern))[1] ?? '';
      expect(await talkInTwoWindows(browser, served, `${template}-built`)).toEqual([]);
      expect(await read(served)).toContain('Just opened a second window.');
      expect(await engines(env.DATABASE_URL)).toBe(1);
      const page = await openPage(browser, served);
      await server.stop('SIGTERM');
      expect(await accepts(new URL(served))).toBe(false);
      await page.context().close();
    });
  });
}

// Each example takes ten seconds to install and start: the quick lane has vite-ssr.
test.skipIf(!LONG)(
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

test.skipIf(!LONG)(
  'the example auth is complete outside of the repository',
  async () => {
    const app = await scaffold(packages, 'my-accounts', ['--example', 'auth']);
    expect(await app.checkTypes()).toBe('');
    const env = { DATABASE_URL: freshDatabaseUrl() };
    const dev = app.start('npm', ['run', 'dev', '--', '--port', await freePort(), '--strictPort'], env);
    const page = await (await browser.newContext()).newPage();
    await page.goto((await dev.prints(/Local:\s+(\S+)/))[1] ?? '');
    await page.getByRole('button', { name: 'Sign in with a passkey' }).waitFor();
    await app.stop();
  },
  INSTALL_MS,
);

test(
  'the example vite-ssr is complete outside of the repository',
  async () => {
    const app = await scaffold(packages, 'my-ssr', ['--example', 'vite-ssr']);
    expect(await app.checkTypes()).toBe('');
    const env = { DATABASE_URL: freshDatabaseUrl(), PORT: await freePort() };
    const dev = app.start('npm', ['run', 'dev'], env);
    const address = (await dev.prints(/➜ +(\S+)/))[1] ?? '';
    expect(await (await fetch(address)).text()).toContain('<h1>Tasks</h1>');
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
