/** A shortcut of Vite's that opens the page with functions, tables and logs. */
import type { ViteDevServer } from 'vite';
import { openBrowser } from '../cli/dev/open-browser.js';
import type { DevServer } from './dev-server.js';

/** Older versions forget the shortcuts of plugins, and run their own twice. */
const FIRST_MAJOR = 8;

export function addPageShortcut(
  server: Pick<ViteDevServer, 'bindCLIShortcuts' | 'config'>,
  devServer: Pick<DevServer, 'pageUrl'>,
  viteVersion: string | undefined,
  open: (url: string) => Promise<void> = openBrowser,
): void {
  if (!(Number.parseInt(viteVersion ?? '', 10) >= FIRST_MAJOR)) return;
  const { logger } = server.config;
  server.bindCLIShortcuts({
    customShortcuts: [
      {
        key: 'f',
        description: "open Convoy's page with functions, tables and logs",
        action: async () => {
          const { pageUrl } = devServer;
          if (pageUrl === null) logger.warn('Convoy serves nothing yet: fix the error above first.');
          else await open(pageUrl).catch((error: Error) => logger.error(error.message));
        },
      },
    ],
  });
}
