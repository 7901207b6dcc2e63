/**
 * The entry of Vite's proxy for `/api`. Streams end at the page when they end at Convoy, WebSockets pass, and while
 * Convoy does not serve, calls get Convoy's own `UNAVAILABLE`, so that clients try again.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ProxyOptions } from 'vite';
import type { DevProblem } from '../cli/dev/report.js';

/** `/api` and what is below it, as a pattern of Vite's proxy. Entries of the user's own configuration come first. */
export const API_PATHS = '^/api(?:[/?]|$)';

/** The part of a `DevServer` that the proxy needs. */
export interface ProxyTarget {
  readonly url: string | null;
  readonly problem: DevProblem | null;
}

export function proxyToConvoy(current: () => ProxyTarget | null): ProxyOptions {
  return {
    // Convoy compares the Origin header with the Host header, so it needs the page's.
    changeOrigin: false,
    ws: true,
    configure: (proxy, options) => {
      // The port is known when Convoy listens, which is later; the proxy reads its options for each request.
      Object.defineProperty(options, 'target', { enumerable: true, get: () => current()?.url ?? undefined });
      proxy.on('proxyRes', closeBrokenStream);
    },
    bypass: (_request, response) => {
      const target = current();
      if (target !== null && target.url !== null) return null;
      // An upgrade has no response: `false` rejects it.
      if (response === undefined) return false;
      refuse(response, target?.problem ?? null);
      return '/';
    },
  };
}

/** Closes the page's stream when Convoy's breaks; left open, the page would take it for an idle one. */
function closeBrokenStream(fromConvoy: IncomingMessage, _request: IncomingMessage, toPage: ServerResponse): void {
  fromConvoy.once('close', () => {
    if (!fromConvoy.complete) toPage.destroy();
  });
}

function refuse(response: ServerResponse, problem: DevProblem | null): void {
  const reason = problem === null ? 'it is starting.' : problem.message;
  const error = { code: 'UNAVAILABLE', message: `Convoy does not serve yet: ${reason}` };
  response.writeHead(503, { 'Content-Type': 'application/json; charset=utf-8', 'Retry-After': '1' });
  response.end(JSON.stringify({ ok: false, error }));
}
