/**
 * Runs a script (the first argument) with the globals of React Native, as far as a client may use them: `fetch`
 * resolves with complete bodies only, there are WebSockets, and there is neither a page nor `crypto`. With `expo`, the
 * client also gets the `fetch` of Expo. The script defines
 * `globalThis.bundled`.
 */
import { readFile } from 'node:fs/promises';
import { WebSocket } from 'ws';

const [script, baseUrl, cutUrl, variant] = process.argv.slice(2);

/** As the one of `whatwg-fetch`, which has no `body`. */
class Response {
  #text;
  constructor(text = '', { status = 200, headers, url = '' } = {}) {
    this.#text = text;
    Object.assign(this, { status, ok: status >= 200 && status < 300, headers: new Headers(headers), url });
  }
  async text() {
    return this.#text;
  }
}

/** As those of `abort-controller`: without a reason, and without static methods. */
const realSignals = new WeakMap();
class AbortSignal {
  get aborted() {
    return realSignals.get(this).aborted;
  }
  addEventListener(...args) {
    realSignals.get(this).addEventListener(...args);
  }
  removeEventListener(...args) {
    realSignals.get(this).removeEventListener(...args);
  }
}
class AbortController {
  #real = new globalThis.AbortController();
  signal = new AbortSignal();
  constructor() {
    realSignals.set(this.signal, this.#real.signal);
  }
  abort() {
    this.#real.abort();
  }
}

const send = (url, { signal, ...init } = {}) => fetch(url, { ...init, signal: signal && realSignals.get(signal) });

/** As `whatwg-fetch` over XMLHttpRequest: a response whose body does not end is never there. */
async function fetchCompletely(url, init) {
  try {
    const { status, headers, ...rest } = await send(url, init).then(async (answer) => ({
      status: answer.status,
      headers: answer.headers,
      text: await answer.text(),
    }));
    return new Response(rest.text, { status, headers, url });
  } catch {
    throw new TypeError('Network request failed');
  }
}

/** As `expo/fetch`: its errors are no TypeErrors. */
async function expoFetch(url, init) {
  try {
    return await send(url, init);
  } catch (error) {
    throw new Error(`fetch failed: ${error.cause?.message ?? error.message}`);
  }
}

const expo = variant === 'expo';
const available = {
  ...{ fetch: fetchCompletely, Headers, Response, AbortController, AbortSignal, WebSocket, URL },
  ...{ navigator: { product: 'ReactNative' }, performance: { now: () => performance.now() } },
  ...{ console, setTimeout, clearTimeout, setInterval, clearInterval, queueMicrotask },
  ...(expo ? { TextDecoder } : {}),
};
const absent = [
  ...['document', 'location', 'crypto', 'process', 'Buffer', 'require', 'structuredClone', 'indexedDB'],
  ...['DOMException', 'EventTarget', 'Event', 'MessageChannel', 'BroadcastChannel', 'performance'],
  ...['TextDecoder', 'TextEncoder', 'ReadableStream', 'TransformStream', 'Blob', 'Request'],
];
const scope = { ...Object.fromEntries(absent.map((name) => [name, undefined])), ...available };
for (const name of ['globalThis', 'global', 'window', 'self']) scope[name] = scope;

// `with`, because scripts also read the globals that they have set.
const load = new Function('scope', `with (scope) {\n${await readFile(script, 'utf8')}\n}`);
load(scope);
await scope.bundled.useClient(baseUrl, cutUrl, (line) => console.log(line), expo ? { fetch: expoFetch } : {});
