/**
 * Applications of web frameworks with the files of docs/frameworks.md and the packed packages: built without a database,
 * served, and edited in development, where one engine stays. Pages that preload a query are opened in Chromium.
 */

import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { packAll } from '../scripts/pack.mjs';
import { freshDatabaseUrl } from './app.ts';
import { launchChromium } from './chromium.ts';
import { frameworks } from './frameworks/frameworks.mjs';
import { runToEnd, startUntil } from './install/processes.mjs';
import { holdScripts, recordPage } from './recorded-page.ts';
import { freePort } from './scaffolded-app.ts';

const isLong = process.env.CONVOY_TEST_LONG === '1';
const page = await readFile(path.join(import.meta.dirname, '../docs/frameworks.md'), 'utf8');
const POLL = { timeout: 120_000, interval: 50 };
const unreachable = 'postgres://nobody@127.0.0.1:1/none';

let shared;
let packages;
let browser;
beforeAll(async () => {
  if (!isLong) return;
  shared = await mkdtemp(path.join(tmpdir(), 'convoy-frameworks-'));
  const packed = await packAll({ out: shared, withoutAddon: 'manifest only' });
  packages = packed.filter(({ name, hasAddon }) => hasAddon || name === '@avvos/convoy').map(({ file }) => file);
  browser = await launchChromium();
}, 120_000);
afterAll(async () => {
  await browser?.close();
  if (shared) await rm(shared, { recursive: true, force: true });
});

// The packages of a framework have up to 300 MB, and a build takes up to half a minute.
describe.skipIf(!isLong).each(frameworks)('$name', { timeout: 600_000 }, (framework) => {
  const databaseUrl = freshDatabaseUrl();
  const database = new pg.Client({ connectionString: databaseUrl });
  // Nuxt prints nothing in tests.
  const notATest = { NODE_ENV: undefined, TEST: undefined, VITEST: undefined };
  const settings = { ...notATest, NEXT_TELEMETRY_DISABLED: '1', NUXT_TELEMETRY_DISABLED: '1' };
  const env = { ...process.env, ...settings, DATABASE_URL: databaseUrl };
  const optional = new Set(framework.served.map(({ config }) => config));
  let node;
  let app;
  let running;
  let baseUrl;

  beforeAll(async () => {
    app = await mkdtemp(path.join(tmpdir(), 'convoy-framework-'));
    node = await nodeSince(framework.oldestNode);
    env.PATH = `${path.dirname(node)}${path.delimiter}${process.env.PATH}`;
    await write('package.json', '{ "name": "app", "private": true, "type": "module" }\n');
    const files = { ...framework.files, ...documented('The Convoy project'), ...documented(framework.section) };
    for (const [file, text] of Object.entries(files)) if (!optional.has(file)) await write(file, text);
    env.CONVOY_TEST_RUNS = path.join(app, 'runs');
    await write('runs', '');
    await write('convoy/functions/notes.ts', counted(files['convoy/functions/notes.ts']));
    await shell('npm', 'install', 'zod', ...framework.packages);
    await shell('npm', 'install', ...packages);
    await shell('npx', 'convoy', 'generate');
    const admin = new pg.Client({ connectionString: process.env.CONVOY_TEST_DATABASE_URL });
    await admin.connect();
    await admin.query(`create database ${new URL(databaseUrl).pathname.slice(1)}`);
    await admin.end();
    await database.connect();
  }, 600_000);

  afterEach(() => running?.stop());

  afterAll(async () => {
    await database.end();
    if (app) await rm(app, { recursive: true, force: true });
  });

  async function write(file, text) {
    await mkdir(path.dirname(path.join(app, file)), { recursive: true });
    await writeFile(path.join(app, file), text);
  }

  async function shell(command, ...args) {
    const done = await runToEnd(command, args, { cwd: app, env });
    expect(done, done.output).toMatchObject({ code: 0 });
  }

  async function start(ready, command, port, cwd = app) {
    running = await startUntil(ready, node, command, { cwd, env: { ...env, PORT: port } });
    baseUrl = `http://localhost:${port}`;
  }

  async function call(name, args = {}) {
    const response = await fetch(`${baseUrl}/api/${name}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(args),
    });
    return response.json();
  }

  /** Engines that are connected: each listens on one connection. */
  async function engines() {
    const { rows } = await database.query(
      `select count(*)::int from pg_stat_activity
       where datname = current_database() and application_name = 'convoy' and query ilike 'listen%'`,
    );
    return rows[0].count;
  }

  /** How often the query has run. */
  const runs = async () => (await readFile(env.CONVOY_TEST_RUNS, 'utf8')).length;

  /** Without scripts the page has the list; with them it goes on from the list, and is live. */
  async function arrivesWithData(place) {
    const url = baseUrl + place;
    const text = `</script><script>window.hacked = true</script> ${place} ${await runs()}`;
    await call('mutation/notes.add', { text });
    const plain = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
    const response = await plain.goto(url);
    expect(response.headers()['cache-control']).toContain('no-store');
    expect(await plain.locator('li').allTextContents()).toContain(text);
    await plain.context().close();

    const page = await (await browser.newContext()).newPage();
    const { recording, errors } = await recordPage(page);
    // So that the runs for the HTML are counted before those of hydration.
    const scripts = await holdScripts(page);
    await page.goto(url, { waitUntil: 'commit' });
    await page.getByRole('listitem').filter({ hasText: text }).waitFor();
    const before = await runs();
    scripts.release();
    await expect.poll(async () => (await recording()).live, POLL).toContain('"same"');
    expect(await runs()).toBe(before);
    const { texts, live, calls } = await recording();
    expect(texts).toEqual([expect.stringContaining(text)]);
    expect(live).not.toContain('hacked');
    expect(calls.filter((name) => name.startsWith('/api/query'))).toEqual([]);
    const later = `after ${before} runs`;
    await call('mutation/notes.add', { text: later });
    await page.getByRole('listitem').filter({ hasText: later }).waitFor();
    expect(await page.evaluate(() => 'hacked' in window)).toBe(false);
    expect(errors).toEqual([]);
    await page.context().close();
  }

  test.each(framework.served)('is built without a database, and served by $name until SIGTERM', async (served) => {
    if (served.config !== undefined) await write(served.config, documented(framework.section)[served.config]);
    const build = served.build ?? framework.build;
    const built = await runToEnd(node, build, { cwd: app, env: { ...env, DATABASE_URL: unreachable } });
    expect(built, built.output).toMatchObject({ code: 0 });
    if (framework.dynamic) expect(built.output).toMatch(framework.dynamic);
    if (framework.types) await shell(node, ...framework.types);
    let folder = app;
    if (served.copied !== undefined) {
      folder = await mkdtemp(path.join(shared, 'served-'));
      await cp(path.join(app, served.copied), folder, { recursive: true, verbatimSymlinks: true });
    }
    await start(served.ready, served.command, await freePort(), folder);
    expect(await call('mutation/notes.add', { text: `called at ${served.name}` })).toMatchObject({ ok: true });
    expect(await (await fetch(baseUrl)).text()).toContain('called at ');

    // What browsers load is not in a copied folder.
    if (served.copied === undefined) for (const place of framework.preloading ?? []) await arrivesWithData(place);

    const stream = await fetch(`${baseUrl}/api/subscribe?name=notes.list`);
    const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    const until = async (part) => {
      while (!text.includes(part)) {
        const { value, done } = await reader.read();
        expect(done, text).toBe(false);
        text += value;
      }
    };
    await until('called at ');
    await call('mutation/notes.add', { text: 'while it streams' });
    await until('while it streams');
    // The stream is still open.
    await running.stop();
    expect(await engines()).toBe(0);
  });

  test('has one engine in development, with the code of the last edit', async () => {
    const port = await freePort();
    await start(/Ready in|Local/, framework.dev(port), port);
    const functions = await readFile(path.join(app, 'convoy/functions/notes.ts'), 'utf8');
    const version = (n) => `${functions}\nexport const version = query({ handler: () => 'version ${n}' });\n`;
    for (let n = 1; n <= 5; n += 1) {
      await write('convoy/functions/notes.ts', version(n));
      // The framework notices the edit and compiles by itself; requests before that get the code before it, or an error.
      const answer = () => call('query/notes.version').catch(({ message }) => message);
      await expect.poll(answer, POLL).toEqual({ ok: true, data: `version ${n}` });
      expect((await fetch(baseUrl)).status).toBe(200);
      // Nuxt ends the worker before this one, which closes its engine.
      await expect.poll(engines, POLL).toBe(1);
    }
  });
});

/** The functions of the page, where each run of the query appends to a file. */
function counted(functions) {
  const handler = `handler: (ctx) => {
    appendFileSync(process.env.CONVOY_TEST_RUNS ?? '', '.');
    return ctx.db.query('notes').collect();
  },`;
  const found = /handler: \(ctx\) => ctx\.db\.query\('notes'\)\.collect\(\)/;
  expect(functions).toMatch(found);
  return `import { appendFileSync } from 'node:fs';\n${functions.replace(found, handler)}`;
}

/** The files that a section of the page shows, by path. */
function documented(section) {
  const text = page.split(/^## /m).find((each) => each.startsWith(`${section}\n`)) ?? '';
  const blocks = text.matchAll(/^```\w+\n(?:\/\/ (\S+)|<!-- (\S+) -->)\n([\s\S]*?)^```$/gm);
  return Object.fromEntries([...blocks].map(([, script, markup, code]) => [script ?? markup, code]));
}

/** The Node that runs this, or a newer one from npm if a framework needs one. */
async function nodeSince(oldest) {
  if (process.versions.node.localeCompare(oldest, 'en', { numeric: true }) >= 0) return process.execPath;
  const folder = path.join(shared, 'node');
  const name = `node-${process.platform}-${process.arch}`;
  const installed = path.join(folder, 'node_modules', name, 'bin/node');
  if (existsSync(installed)) return installed;
  await mkdir(folder);
  await writeFile(path.join(folder, 'package.json'), '{ "private": true }');
  const done = await runToEnd('npm', ['install', `${name}@22`], { cwd: folder });
  expect(done, done.output).toMatchObject({ code: 0 });
  return installed;
}
