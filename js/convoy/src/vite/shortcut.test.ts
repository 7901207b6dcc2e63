import type { CLIShortcut, ViteDevServer } from 'vite';
import { beforeEach, describe, expect, test } from 'vitest';
import { addPageShortcut } from './shortcut.js';

describe('the shortcut that opens the page with functions', () => {
  const log: string[] = [];
  let shortcuts: CLIShortcut<ViteDevServer>[] = [];
  const server = {
    bindCLIShortcuts: ({ customShortcuts = [] } = {}) => shortcuts.push(...customShortcuts),
    config: { logger: { warn: (text: string) => log.push(text), error: (text: string) => log.push(text) } },
  } as unknown as ViteDevServer;
  const press = (key: string) => shortcuts.find((each) => each.key === key)?.action?.(server);

  beforeEach(() => {
    log.length = 0;
    shortcuts = [];
  });

  test('opens the link of the running server, which changes with a restart', async () => {
    const devServer = { pageUrl: 'http://127.0.0.1:1/_convoy#token=a' };
    const opened: string[] = [];
    addPageShortcut(server, devServer, '8.3.8', async (url) => void opened.push(url));
    await press('f');
    devServer.pageUrl = 'http://127.0.0.1:2/_convoy#token=b';
    await press('f');
    expect(opened).toEqual(['http://127.0.0.1:1/_convoy#token=a', 'http://127.0.0.1:2/_convoy#token=b']);
  });

  test('says why no page is opened', async () => {
    const devServer = { pageUrl: null as string | null };
    addPageShortcut(server, devServer, '8.3.8', async () => {
      throw new Error('No browser can be opened here.');
    });
    await press('f');
    devServer.pageUrl = 'http://127.0.0.1:1/_convoy#token=a';
    await press('f');
    expect(log).toEqual(['Convoy serves nothing yet: fix the error above first.', 'No browser can be opened here.']);
  });

  test.each(['7.3.0', '6.4.1', undefined])('is not added to Vite %s, which cannot combine shortcuts', (version) => {
    addPageShortcut(server, { pageUrl: null }, version);
    expect(shortcuts).toEqual([]);
  });
});
