/** The web server of development: serves the screens, and passes `/api` on to Convoy. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import react from '@vitejs/plugin-react';
import { createLogger, defineConfig, loadEnv } from 'vite';

export default defineConfig(({ mode }) => {
  const { PORT = '3000' } = loadEnv(mode, import.meta.dirname, '');
  return {
    plugins: [react()],
    customLogger: loggerWithoutProxyErrors(),
    server: {
      host: '127.0.0.1',
      port: 5173,
      proxy: {
        '/api': {
          target: `http://127.0.0.1:${PORT}`,
          // The Host header stays the page's own, so that Convoy sees a request of the same origin.
          changeOrigin: false,
          configure: (proxy) => proxy.on('proxyRes', passOnBrokenStreams),
        },
      },
    },
  };
});

/** A stream that Convoy cut short must not stay open towards the page, which would take it for a quiet one. */
function passOnBrokenStreams(fromConvoy: IncomingMessage, _request: IncomingMessage, toPage: ServerResponse): void {
  fromConvoy.once('close', () => {
    if (!fromConvoy.complete) toPage.destroy();
  });
}

/** While Convoy starts or restarts, every retry of every page would print a stack; the pages say it themselves. */
function loggerWithoutProxyErrors() {
  const logger = createLogger();
  const { error } = logger;
  let told = false;
  logger.error = (message, options) => {
    if (!message.includes('http proxy error')) return error(message, options);
    if (!told) logger.info('Convoy does not answer yet; open pages connect as soon as it does.', { timestamp: true });
    told = true;
  };
  return logger;
}
