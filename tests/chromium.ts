/** A headless Chromium, and a page with the client in it, for tests of browser behaviour. */
import { join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import { createServer, type ProxyOptions, type ViteDevServer } from 'vite';

/** The globals that the page's window has. */
export interface ClientPage {
  readonly convoy: typeof import('@avvos/convoy/client');
}

export function launchChromium(...args: string[]): Promise<Browser> {
  const executablePath = process.env.CONVOY_TEST_CHROMIUM;
  if (executablePath === undefined) throw new Error('CONVOY_TEST_CHROMIUM is not set; `npm test` finds a browser.');
  const quiet = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
  ];
  return chromium.launch({ executablePath, headless: true, args: [...quiet, ...args] });
}

/**
 * Vite's development server with that page. With `quiet` it opens no connection of its own to the page, which would log
 * to the page's console, and proxies no WebSockets.
 */
export async function servePages(
  proxy: Record<string, string | ProxyOptions>,
  { quiet = false } = {},
): Promise<ViteDevServer> {
  const root = join(import.meta.dirname, 'proxied');
  const server = await createServer({
    configFile: false,
    root,
    cacheDir: join(root, 'node_modules', '.vite'),
    logLevel: 'silent',
    optimizeDeps: { noDiscovery: true, include: [] },
    server: {
      host: '127.0.0.1',
      port: 0,
      proxy,
      allowedHosts: ['app.lan'],
      ...(quiet ? { hmr: false, ws: false } : {}),
    },
  });
  return server.listen();
}

export function portOf({ httpServer }: ViteDevServer): number {
  const address = httpServer?.address();
  if (typeof address !== 'object' || address === null) throw new Error('The server is not listening');
  return address.port;
}
