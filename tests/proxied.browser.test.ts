/**
 * Pages that reach Convoy through proxies, in Chromium: the headers it sends, and that a page of the same origin is
 * served even if a proxy changes `Host`, while one of another origin is served only if `cors` lists it.
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

/** Like nginx's `proxy_pass` by default: `Host` becomes that of the upstream, and upgrades are not forwarded. */
function plainProxy(api: number, pages: number): Promise<number> {
  return listening(
    createHttpServer((incoming, answer) => {
      const port = incoming.url?.startsWith('/api') ? api : pages;
      const headers = { ...incoming.headers, host: `127.0.0.1:${port}`, connection: 'close' };
      const passed = request(
        { port, host: '127.0.0.1', method: incoming.method, path: incoming.url, headers },
        (answered) => {
          answer.writeHead(answered.statusCode ?? 502, answered.headers);
          answered.pipe(answer);
        },
      );
      passed.on('error', () => answer.destroy());
      answer.on('close', () => passed.destroy());
      incoming.pipe(passed);
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
function exerciseClient(page: Page, baseUrl?: string): Promise<string> {
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

test('Chromium sends `Sec-Fetch-Site` with every request to localhost, and never with WebSockets', async () => {
  const received: Record<string, IncomingHttpHeaders> = {};
  const server = createHttpServer((incoming, answer) => {
    received[incoming.url ?? ''] = incoming.headers;
    answer.setHeader('content-type', 'text/html');
    answer.end('<title>x</title>');
  });
  server.on('upgrade', (incoming, socket) => {
    received[incoming.url ?? ''] = incoming.headers;
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
    expect(received['/call']).toMatchObject({ origin });
    expect(received['/call']?.['sec-fetch-site']).toBe(secure ? 'same-origin' : undefined);
    expect(received['/api/ws']).toMatchObject({ origin });
    expect(received['/api/ws']?.['sec-fetch-site']).toBeUndefined();
  }
});

/** The proxy's configuration, and whether WebSockets get through: `null` where Vite never responds to them. */
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
      expect(await exerciseClient(page)).toBe('hello');
      if (socket !== null) expect(await socketOpens(page)).toBe(socket);
    }
  }
});

test('a page behind a proxy that changes Host is served where Chromium sends that it is same-origin', async () => {
  const web = await plainProxy(await convoyPort(), await vite());
  expect(await exerciseClient(await open(`http://localhost:${web}/`))).toBe('hello');
  const beyond = await exerciseClient(await open(`http://app.lan:${web}/`));
  expect(beyond).toMatch(/^FORBIDDEN/);
  expect(beyond).toContain(`http://app.lan:${web}`);
  expect(beyond).toMatch(/host it requested is 127\.0\.0\.1:\d+.*X-Forwarded-Host/);
});

test('over plain HTTP to another name, X-Forwarded-Host of a proxy on this machine counts in development', async () => {
  const port = await convoyPort({ dev: true });
  const target = `http://127.0.0.1:${port}`;
  const withoutHeader = await vite({ '/api': { target, changeOrigin: true } });
  expect(await exerciseClient(await open(`http://app.lan:${withoutHeader}/`))).toMatch(/^FORBIDDEN/);
  const withHeader = await vite({ '/api': { target, changeOrigin: true, xfwd: true } });
  expect(await exerciseClient(await open(`http://app.lan:${withHeader}/`))).toBe('hello');
});

test('a page of another origin is served only where cors lists it', async () => {
  const web = await vite();
  const listed = `http://localhost:${web}`;
  const port = await convoyPort({ cors: { origins: [listed], credentials: true } });
  // Both at once: a mutation that gets no response is repeated for ten seconds.
  await Promise.all(
    ['localhost', '127.0.0.1'].map(async (host) => {
      const server = `http://${host}:${port}`;
      const page = await open(`${listed}/`);
      expect(await exerciseClient(page, server)).toBe('hello');
      expect(await socketOpens(page, server)).toBe(true);
      const other = await open(`http://127.0.0.1:${web}/`);
      expect(await exerciseClient(other, server)).toMatch(/^UNAVAILABLE No response/);
      expect(await socketOpens(other, server)).toBe(false);
    }),
  );
});
