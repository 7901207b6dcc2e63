/** The development web server: serves the page, and proxies `/api` to Convoy. */
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
          // Keeps the page's Host header, so that Convoy sees a same-origin request.
          changeOrigin: false,
          configure: (proxy) => proxy.on('proxyRes', closeBrokenStreams),
        },
      },
    },
  };
});

/** Closes the page's stream when Convoy's breaks; left open, the page would take it for an idle one. */
function closeBrokenStreams(fromConvoy: IncomingMessage, _request: IncomingMessage, toPage: ServerResponse): void {
  fromConvoy.once('close', () => {
    if (!fromConvoy.complete) toPage.destroy();
  });
}

/** Logs one line while Convoy starts or restarts, instead of a stack trace for every retry of every page. */
function loggerWithoutProxyErrors() {
  const logger = createLogger();
  const { error } = logger;
  let logged = false;
  logger.error = (message, options) => {
    if (!message.includes('http proxy error')) return error(message, options);
    if (!logged)
      logger.info('Convoy does not respond yet; open pages connect as soon as it does.', { timestamp: true });
    logged = true;
  };
  return logger;
}
