/**
 * `@avvos/convoy/vite`: a Vite plugin that runs `convoy dev` together with Vite's development server, proxies `/api` to
 * it, and shows errors in schema and functions in Vite's overlay.
 *
 * Vite is ready when Convoy has loaded the code or has reported why it cannot, so Vite's address is printed last.
 *
 * @packageDocumentation
 */
import path from 'node:path';
import type { Plugin, ResolvedConfig, ViteDevServer } from 'vite';
import { type DevServer, DevServers } from './dev-server.js';
import { showProblems } from './overlay.js';
import { type ConvoyPluginOptions, checkPluginOptions } from './plugin-options.js';
import { API_PATHS, proxyToConvoy } from './proxy.js';
import { addPageShortcut } from './shortcut.js';

export type { ConvoyPluginOptions };

/** Runs Convoy inside Vite's development server. Has no effect on builds, previews and Vitest. */
export function convoy(options: ConvoyPluginOptions = {}): Plugin {
  checkPluginOptions(options);
  /** The running `convoy dev` of each Vite server; a restart of Vite makes a second server before the first one closes. */
  const running = new WeakMap<ResolvedConfig, { readonly devServer: DevServer; release(): Promise<void> }>();
  /** The server that requests go to: that of the newest Vite server. */
  let current: DevServer | null = null;
  return {
    name: 'convoy',
    apply: (_config, { command, isPreview }) => command === 'serve' && isPreview !== true,
    config: ({ server }) => ({
      server: {
        proxy: { [API_PATHS]: proxyToConvoy(() => current) },
        // Holds the files of the embedded Postgres. `null` is the user's wish to watch nothing.
        ...(server?.watch === null ? {} : { watch: { ignored: ['**/.convoy/**'] } }),
      },
    }),
    async configureServer(server: ViteDevServer) {
      const { config } = server;
      // Vitest runs tests inside of a development server.
      if (config.plugins.some(({ name }) => name === 'vitest')) return;
      const { devServer, release } = DevServers.ofThisProcess().acquire({
        root: path.resolve(config.root, options.root ?? '.'),
        schema: options.schema ?? 'convoy/schema.ts',
        port: options.port ?? 0,
        verbose: options.verbose ?? false,
      });
      current = devServer;
      const unsubscribe = [
        devServer.onPrint((text) => config.logger.info(text)),
        showProblems(devServer, server.ws),
        devServer.onEnd((reason) => config.logger.error(`${reason} Press r + enter to start it again.`)),
      ];
      running.set(config, {
        devServer,
        release: async () => {
          for (const each of unsubscribe) each();
          await release();
        },
      });
      addPageShortcut(server, devServer, this.meta.viteVersion);
      await devServer.settled;
    },
    async closeBundle() {
      const config = this.environment.getTopLevelConfig();
      const own = running.get(config);
      running.delete(config);
      await own?.release();
    },
  };
}
