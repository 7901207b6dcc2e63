/**
 * Pages as they reach Convoy through proxies, in Chromium: which headers it sends, and that a page of the same origin
 * is served whatever a proxy makes of `Host`, while one of another origin is not unless `cors` lists it.
 */
import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingHttpHeaders, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { CorsOptions } from '@avvos/convoy/node';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import type { Browser, Page } from 'playwright-core';
import type { ProxyOptions } from 'vite';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { freshDatabaseUrl, functions, schema } from './app.js';
import { type ClientPage, launchChromium, portOf, servePages } from './chromium.js';

const databaseUrl = freshDatabaseUrl();
const closing: (() => Promise<unknown>)[] = [];
let browser: Browser;
beforeAll(async () => {
  browser = await launchChromium('--host-resolver-rules=MAP app.lan 127.0.0.1');
});
afterAll(() => browser.close());
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function convoyPort(options: { dev?: boolean; trustProxy?: boolean; cors?: CorsOptions } = {}): Promise<number> {
  const convoy: Convoy = await createConvoy({ databaseUrl, createDatabase: true, schema, functions, ...options });
  closing.push(() => convoy.close());
  return (await convoy.listen({ port: 0 })).port;
}

async function vite(proxy: Record<string, string | ProxyOptions> = {}): Promise<number> {
  const server = await servePages(proxy);
  closing.push(() => server.close());
  return portOf(server);
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  return (server.address() as AddressInfo).port;
}

/** As nginx's `proxy_pass` does when nothing else is said: `Host` becomes the one behind, upgrades are not passed on. */
function barePass(api: number, pages: number): Promise<number> {
  return listening(
    createHttpServer((asked, answer) => {
      const port = asked.url?.startsWith('/api') ? api : pages;
      const headers = { ...asked.headers, host: `127.0.0.1:${port}`, connection: 'close' };
      const passed = request(
        { port, host: '127.0.0.1', method: asked.method, path: asked.url, headers },
        (answered) => {
          answer.writeHead(answered.statusCode ?? 502, answered.headers);
          answered.pipe(answer);
        },
      );
      passed.on('error', () => answer.destroy());
      answer.on('close', () => passed.destroy());
      asked.pipe(passed);
    }),
  );
}

async function open(address: string): Promise<Page> {
  const context = await browser.newContext();
  closing.push(() => context.close());
  const page = await context.newPage();
  await page.goto(address);
  await page.waitForFunction(() => 'convoy' in window);
  return page;
}

/** Creates a channel, watches it, and writes into it: every kind of request that the client makes. */
function useIt(page: Page, baseUrl?: string): Promise<string> {
  return page.evaluate(async (baseUrl) => {
    const { createConvoyClient, makeMutationRef, makeQueryRef } = (window as unknown as ClientPage).convoy;
    const create = makeMutationRef<{ name: string }, string>('channels.create');
    const send = makeMutationRef<{ channelId: string; body: string }, string>('messages.send');
    const list = makeQueryRef<{ channelId: string }, { body: string }[]>('messages.list');
    const client = createConvoyClient(baseUrl === undefined ? {} : { baseUrl });
    try {
      const channelId = await client.mutation(create, { name: `${Math.random()}` });
      return await new Promise<string>((resolve, reject) => {
        client.watch(list, { channelId }, ({ status, data, error }) => {
          if (status === 'error') reject(new Error(error.message));
          if (data?.length === 0) client.mutation(send, { channelId, body: 'hello' }).catch(reject);
          if (data?.length === 1) resolve(data[0]?.body ?? '');
        });
      });
    } catch (error) {
      return `${(error as { code?: string }).code} ${(error as Error).message}`;
    } finally {
      client.close();
    }
  }, baseUrl);
}

/** Whether a WebSocket of the page opens. */
function socketOpens(page: Page, origin?: string): Promise<boolean> {
  return page.evaluate(
    (origin) =>
      new Promise<boolean>((resolve) => {
        const socket = new WebSocket(`${origin ?? location.origin}/api/ws`.replace(/^http/, 'ws'));
        socket.onopen = () => resolve(true);
        socket.onerror = () => resolve(false);
      }),
    origin,
  );
}

test('Chromium says `Sec-Fetch-Site` with every request to localhost, and none with WebSockets', async () => {
  const heard: Record<string, IncomingHttpHeaders> = {};
  const server = createHttpServer((asked, answer) => {
    heard[asked.url ?? ''] = asked.headers;
    answer.setHeader('content-type', 'text/html');
    answer.end('<title>x</title>');
  });
  server.on('upgrade', (asked, socket) => {
    heard[asked.url ?? ''] = asked.headers;
    socket.destroy();
  });
  const port = await listening(server);
  const context = await browser.newContext();
  closing.push(() => context.close());
  const page = await context.newPage();
  for (const origin of [`http://localhost:${port}`, `http://app.lan:${port}`]) {
    await page.goto(origin);
    await page.evaluate(() => fetch('/call', { method: 'POST', body: '{}' }).then(() => undefined));
    await socketOpens(page);
    const secure = origin.includes('localhost');
    expect(heard['/call']).toMatchObject({ origin });
    expect(heard['/call']?.['sec-fetch-site']).toBe(secure ? 'same-origin' : undefined);
    expect(heard['/api/ws']).toMatchObject({ origin });
    expect(heard['/api/ws']?.['sec-fetch-site']).toBeUndefined();
  }
});

/** How it is written, and whether WebSockets get through: `null` where Vite leaves them without an answer. */
const forms: [string, (target: string) => string | ProxyOptions, boolean | null][] = [
  ['the shortest line', (target) => target, null],
  ['changeOrigin: true', (target) => ({ target, ws: true, changeOrigin: true }), false],
  ['rewriteWsOrigin: true', (target) => ({ target, ws: true, changeOrigin: true, rewriteWsOrigin: true }), true],
  ['changeOrigin: false', (target) => ({ target, ws: true, changeOrigin: false }), true],
];
test.each(forms)('a page behind Vite’s proxy is served: %s', async (_what, form, socket) => {
  for (const dev of [true, false]) {
    const port = await convoyPort({ dev });
    const web = await vite({ '/api': form(`http://127.0.0.1:${port}`) });
    for (const host of ['localhost', '127.0.0.1']) {
      const page = await open(`http://${host}:${web}/`);
      expect(await useIt(page)).toBe('hello');
      if (socket !== null) expect(await socketOpens(page)).toBe(socket);
    }
  }
});

test('a page behind a proxy that changes Host is served where Chromium says that it is of the same origin', async () => {
  const web = await barePass(await convoyPort(), await vite());
  expect(await useIt(await open(`http://localhost:${web}/`))).toBe('hello');
  const beyond = await useIt(await open(`http://app.lan:${web}/`));
  expect(beyond).toMatch(/^FORBIDDEN/);
  expect(beyond).toContain(`http://app.lan:${web}`);
  expect(beyond).toMatch(/host it requested is 127\.0\.0\.1:\d+.*X-Forwarded-Host/);
});

test('over plain HTTP to another name, X-Forwarded-Host of a proxy on this machine counts in development', async () => {
  const port = await convoyPort({ dev: true });
  const target = `http://127.0.0.1:${port}`;
  const silent = await vite({ '/api': { target, changeOrigin: true } });
  expect(await useIt(await open(`http://app.lan:${silent}/`))).toMatch(/^FORBIDDEN/);
  const telling = await vite({ '/api': { target, changeOrigin: true, xfwd: true } });
  expect(await useIt(await open(`http://app.lan:${telling}/`))).toBe('hello');
});

test('a page of another origin is served where cors lists it, and told nothing where it does not', async () => {
  const web = await vite();
  const listed = `http://localhost:${web}`;
  const port = await convoyPort({ cors: { origins: [listed], credentials: true } });
  for (const host of ['localhost', '127.0.0.1']) {
    const server = `http://${host}:${port}`;
    const page = await open(`${listed}/`);
    expect(await useIt(page, server)).toBe('hello');
    expect(await socketOpens(page, server)).toBe(true);
    const other = await open(`http://127.0.0.1:${web}/`);
    expect(await useIt(other, server)).toMatch(/^UNAVAILABLE No answer/);
    expect(await socketOpens(other, server)).toBe(false);
  }
});
