/** The lines of `convoy doctor` about a deployed server, as seen through its proxies. */
import http from 'node:http';
import https from 'node:https';
import { PROTOCOL } from '../../protocol/frames.js';
import { type DoctorLine, fail, ok, warn } from './doctor-line.js';

/** A server sends the first frame of a live stream at once; what takes longer is held back on its way. */
const FIRST_FRAME_MS = 5_000;
const REQUEST_MS = 10_000;

/** Checks the server at `url`, such as `https://example.com/api`. */
export async function checkUrl(url: string): Promise<DoctorLine[]> {
  const base = url.replace(/\/+$/, '');
  const health = await checkHealth(base);
  if (health.level === 'fail') return [health];
  return [health, await checkStream(base), await checkSocket(base)];
}

async function checkHealth(base: string): Promise<DoctorLine> {
  try {
    const response = await fetch(`${base}/health`, { signal: AbortSignal.timeout(REQUEST_MS) });
    if (response.ok) return ok('server', `${base}/health answers ${response.status}`);
    const remedy = response.status === 404 ? 'does the URL end with the base path, such as /api?' : 'read its log';
    return fail('server', `${base}/health answers ${response.status}`, remedy);
  } catch (error) {
    return fail('server', `${base}/health cannot be reached: ${causeOf(error)}`, 'check the URL, DNS and firewalls');
  }
}

/** Opens a live stream without queries and measures when its first frame arrives. */
async function checkStream(base: string): Promise<DoctorLine> {
  const name = 'streaming';
  const buffering = () =>
    fail(
      name,
      `a live stream brought nothing within ${FIRST_FRAME_MS / 1_000} s: a proxy buffers responses`,
      'turn response buffering off for this path, in nginx: proxy_buffering off; proxy_http_version 1.1;',
    );
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), FIRST_FRAME_MS);
  const began = performance.now();
  try {
    const response = await fetch(`${base}/live`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body: JSON.stringify({ protocol: PROTOCOL, queries: [] }),
      signal: abort.signal,
    });
    if (!response.ok) {
      const text = (await response.text()).slice(0, 200);
      return fail(
        name,
        `${base}/live answers ${response.status}: ${text}`,
        'check that the proxy passes POST requests',
      );
    }
    const encoding = response.headers.get('content-encoding');
    const reader = response.body?.getReader();
    const first = await reader?.read();
    const took = Math.round(performance.now() - began);
    if (first === undefined || first.done)
      return fail(name, 'the live stream ended at once', 'read the log of the proxy');
    if (encoding !== null) {
      return warn(name, `a proxy compresses live streams (${encoding})`, 'exclude text/event-stream from compression');
    }
    return ok(name, `the first frame of a live stream arrived after ${took} ms`);
  } catch (error) {
    return abort.signal.aborted ? buffering() : fail(name, `the live stream failed: ${causeOf(error)}`);
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
}

/** Whether an upgrade to WebSocket reaches the server. */
async function checkSocket(base: string): Promise<DoctorLine> {
  const url = new URL(`${base}/ws`);
  const headers = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': Buffer.alloc(16, 1).toString('base64'),
  };
  const remedy =
    'streams work without it; in nginx: proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";';
  return new Promise((resolve) => {
    const request = (url.protocol === 'https:' ? https : http).get(url, { headers, timeout: REQUEST_MS });
    request.once('upgrade', (_response, socket) => {
      socket.destroy();
      resolve(ok('websocket', 'WebSockets reach the server'));
    });
    request.once('response', (response) => {
      response.destroy();
      resolve(warn('websocket', `the upgrade to WebSocket is answered with ${response.statusCode}`, remedy));
    });
    request.once('timeout', () => request.destroy(new Error(`no answer within ${REQUEST_MS / 1_000} s`)));
    request.once('error', (error) => resolve(warn('websocket', `WebSocket failed: ${error.message}`, remedy)));
  });
}

function causeOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message : String(cause);
}
