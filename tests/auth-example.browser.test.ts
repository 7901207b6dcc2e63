/**
 * The example with accounts as users run it: Vite with Convoy in it, and then one process on one port, in Chromium with
 * an authenticator. Set CONVOY_TEST_SCREENSHOT to a file to save a screenshot.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshDatabaseUrl } from './app.js';
import { launchChromium } from './chromium.js';
import { freePort } from './free-port.js';
import { type OidcProvider, startOidcProvider } from './oidc-provider.js';

const root = join(import.meta.dirname, '..');
const example = join(root, 'examples', 'auth');
const vite = join(root, 'node_modules', 'vite', 'bin', 'vite.js');
const convoy = join(root, 'js', 'convoy', 'bin', 'convoy.mjs');
/** Without `NODE_ENV`, which is `test` here, as in the terminal of a user. */
const { NODE_ENV: _test, ...inherited } = process.env;
const password = 'correct horse battery staple';

const processes: ChildProcess[] = [];
const folders: string[] = [];
let browser: Browser;
let provider: OidcProvider;

/** Starts a program; resolves once its output matches `ready`. */
async function start(args: string[], env: Record<string, string>, ready: RegExp): Promise<void> {
  const child = spawn(process.execPath, args, { cwd: example, env: { ...inherited, NO_COLOR: '1', ...env } });
  processes.push(child);
  let printed = '';
  return new Promise((resolve, reject) => {
    const onOutput = (chunk: Buffer) => {
      printed += chunk.toString();
      if (ready.test(printed)) resolve();
    };
    child.stdout.on('data', onOutput);
    child.stderr.on('data', onOutput);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${args.join(' ')} ended with ${code}:\n${printed}`)));
  });
}

/** The example as in development; resolves to its address. */
async function serveForDevelopment(): Promise<string> {
  const port = String(await freePort());
  const flags = ['--host', 'localhost', '--port', port, '--strictPort'];
  await start([vite, ...flags], { DATABASE_URL: freshDatabaseUrl() }, new RegExp(`:${port}`));
  return `http://localhost:${port}`;
}

/** The example as in production, with the provider in its environment; resolves to its address. */
async function serveForProduction(): Promise<string> {
  const run = promisify(execFile);
  const port = String(await freePort());
  const address = `http://localhost:${port}`;
  const env = {
    DATABASE_URL: freshDatabaseUrl(),
    BETTER_AUTH_URL: address,
    BETTER_AUTH_SECRET: 'a secret for the tests, of more than 32 characters: 8f1c0b7e',
    OAUTH_ISSUER: provider.issuer,
    OAUTH_NAME: 'Lighthouse',
    OAUTH_CLIENT_ID: provider.clientId,
    OAUTH_CLIENT_SECRET: provider.clientSecret,
  };
  // Built code imports packages, so its folder is in the repository.
  await mkdir(join(example, 'node_modules'), { recursive: true });
  const folder = await mkdtemp(join(example, 'node_modules', '.built-'));
  folders.push(folder);
  const [pages, code] = [join(folder, 'dist'), join(folder, 'code')];
  const options = { cwd: example, env: { ...inherited, ...env } };
  await run(process.execPath, [vite, 'build', '--outDir', pages], options);
  await run(process.execPath, [convoy, 'build', '--out', code], options);
  await run(process.execPath, [convoy, 'migrate', '--build', code], options);
  await start(
    [convoy, 'start', '--build', code, '--host', '127.0.0.1', '--port', port, '--static', pages],
    env,
    /serves http/,
  );
  return address;
}

/** A window of a browser that shares only the server with the others. */
async function open(address: string): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1180, height: 760 }, colorScheme: 'light' });
  const page = await context.newPage();
  await page.goto(address);
  return page;
}

/** Gives the page a device that keeps passkeys, and whose user agrees to everything. */
async function addAuthenticator(page: Page): Promise<void> {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('WebAuthn.enable');
  await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
}

const press = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).click();

const isSignedIn = (page: Page, name: string) => page.getByTestId('user').filter({ hasText: name }).waitFor();

const isSignedOut = (page: Page) => page.getByText('You are signed out.').waitFor();

async function addNote(page: Page, text: string): Promise<void> {
  await page.getByRole('textbox', { name: 'New note' }).fill(text);
  await page.getByRole('textbox', { name: 'New note' }).press('Enter');
}

const hasNote = (page: Page, text: string) => page.getByTestId('note').filter({ hasText: text }).waitFor();

async function hasSessions(page: Page, count: number): Promise<void> {
  await page
    .getByTestId('session')
    .nth(count - 1)
    .waitFor();
  expect(await page.getByTestId('session').count()).toBe(count);
}

async function signUp(page: Page, name: string, email: string): Promise<void> {
  await press(page, 'Create one');
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password').fill(password);
  await press(page, 'Create account');
  await isSignedIn(page, name);
}

async function signIn(page: Page, email: string, given: string): Promise<void> {
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password').fill(given);
  await press(page, 'Sign in');
}

/** Counts the times that a page is loaded. */
function loadsOf(page: Page): () => number {
  let loads = 0;
  page.on('load', () => loads++);
  return () => loads;
}

beforeAll(async () => {
  browser = await launchChromium();
  provider = await startOidcProvider({ sub: 'keeper-1', name: 'Grace Hopper', email: 'grace@example.com' });
});

afterAll(async () => {
  await browser?.close();
  for (const child of processes) {
    if (child.exitCode !== null) continue;
    child.removeAllListeners('exit');
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
  await provider?.close();
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

test('passwords and passkeys sign in; notes are live in two browsers; signing out everywhere ends both', async () => {
  const address = await serveForDevelopment();
  const first = await open(address);
  await addAuthenticator(first);
  await signUp(first, 'Ada Lovelace', 'ada@example.com');
  expect(await first.getByText('Sign in with Lighthouse').count()).toBe(0);

  await press(first, 'Add a passkey');
  await first.getByTestId('passkey').waitFor();
  await press(first, 'Sign out');
  await isSignedOut(first);
  await press(first, 'Sign in with a passkey');
  await isSignedIn(first, 'Ada Lovelace');

  const second = await open(address);
  await signIn(second, 'ada@example.com', 'a wrong password');
  await second.getByRole('alert').filter({ hasText: 'Invalid email or password' }).waitFor();
  await signIn(second, 'ada@example.com', password);
  await isSignedIn(second, 'Ada Lovelace');
  await Promise.all([hasSessions(first, 2), hasSessions(second, 2)]);

  await addNote(first, 'Buy a compass');
  await hasNote(second, 'Buy a compass');
  await addNote(second, 'Learn the names of the winds');
  await hasNote(first, 'Learn the names of the winds');

  const picture = process.env.CONVOY_TEST_SCREENSHOT;
  if (picture !== undefined) await first.screenshot({ path: picture });

  const loads = loadsOf(second);
  await press(first, 'Sign out everywhere');
  await Promise.all([isSignedOut(first), isSignedOut(second)]);
  expect(await second.getByTestId('note').count()).toBe(0);
  expect(loads()).toBe(0);

  // One session of several can be ended, too.
  await signIn(second, 'ada@example.com', password);
  await isSignedIn(second, 'Ada Lovelace');
  await press(first, 'Sign in with a passkey');
  await hasSessions(first, 2);
  await first.getByTestId('session').getByRole('button', { name: 'Sign out' }).click();
  await isSignedOut(second);
  await isSignedIn(first, 'Ada Lovelace');
});

test('on one port, a provider of OpenID Connect signs a new user in', async () => {
  const address = await serveForProduction();
  const page = await open(address);
  await press(page, 'Sign in with Lighthouse');
  await isSignedIn(page, 'Grace Hopper');
  await page.getByText('grace@example.com').waitFor();
  // The address of the client is that of its connection.
  await page.getByTestId('session').filter({ hasText: '127.0.0.1' }).waitFor();
  await addNote(page, 'Trim the lamp');
  await hasNote(page, 'Trim the lamp');

  await press(page, 'Sign out');
  await isSignedOut(page);
  await press(page, 'Sign in with Lighthouse');
  await hasNote(page, 'Trim the lamp');

  // Passwords cannot be guessed any faster by someone who claims to have many addresses.
  const guess = async (n: number) => {
    const response = await fetch(`${address}/api/auth/sign-in/email`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin: address, 'x-forwarded-for': `192.0.2.${n}` },
      body: JSON.stringify({ email: 'grace@example.com', password }),
    });
    return response.status;
  };
  expect([await guess(1), await guess(2), await guess(3), await guess(4)]).toEqual([401, 401, 401, 429]);
});
