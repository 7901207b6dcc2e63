/** Serves a page that esbuild bundles, and Convoy behind a connection that is slow, or loses what it carries. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { build, type Plugin } from 'esbuild';
import { seededRandom } from '../js/convoy/testing/model-server.js';

export interface PageOptions {
  readonly plugins?: Plugin[];
  readonly mode?: 'production' | 'development';
}

export class PageServer {
  /** The random delay of each request, response and part of a stream, at most. */
  slowMs = 0;
  /** What is lost of mutations: nothing, the requests, or the responses after their commit. */
  lost: 'nothing' | 'requests' | 'responses' = 'nothing';
  /** The idempotency key of each mutation that has arrived, in order. */
  readonly mutations: string[] = [];
  /** The connections that are open now. */
  readonly open = { streams: 0, sockets: 0 };
  readonly #server: Server;
  readonly #script: string;
  readonly #port: number;
  readonly #below = seededRandom(7);
  /** Cuts one connection each. */
  readonly #open = new Set<() => void>();

  private constructor(script: string, port: number) {
    this.#script = script;
    this.#port = port;
    this.#server = createServer((incoming, answer) => void this.#handle(incoming, answer));
    this.#server.on('upgrade', (incoming, socket) => this.#upgrade(incoming, socket));
  }

  /** Serves the page of the script `entry`, and the API of a Convoy on `port`. */
  static async start(entry: string, port: number, options: PageOptions = {}): Promise<PageServer> {
    const { plugins = [], mode = 'production' } = options;
    const bundled = await build({
      entryPoints: [entry],
      bundle: true,
      write: false,
      format: 'esm',
      define: { 'process.env.NODE_ENV': JSON.stringify(mode) },
      plugins,
    });
    const pages = new PageServer(bundled.outputFiles[0]?.text ?? '', port);
    pages.#server.listen(0, '127.0.0.1');
    await once(pages.#server, 'listening');
    return pages;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  /** The requests that are not answered completely; each page with live queries has one. */
  get openRequests(): number {
    return this.#open.size;
  }

  /** Cuts all connections to Convoy, with what is on its way. */
  cut(): void {
    for (const cut of this.#open) cut();
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #handle(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const path = incoming.url ?? '/';
    if (path.startsWith('/api')) await this.#pass(path, incoming, answer);
    else if (path === '/page.js') answer.setHeader('content-type', 'text/javascript').end(this.#script);
    else
      answer
        .setHeader('content-type', 'text/html')
        .end('<!doctype html><script type="module" src="/page.js"></script>');
  }

  async #pass(path: string, incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of incoming) body += chunk;
    const isStream = path === '/api/live';
    const isMutation = path.startsWith('/api/mutation');
    if (isMutation) this.mutations.push(String(incoming.headers['idempotency-key']));
    // Neither is answered: the page waits until it ends.
    if (isMutation && this.lost === 'requests') return;
    await this.#delay();
    const headers = { ...incoming.headers, 'content-length': Buffer.byteLength(body) };
    const options = { port: this.#port, host: '127.0.0.1', method: incoming.method, path, headers };
    const passed = request(options, (answered) => {
      if (isMutation && this.lost === 'responses') answered.resume();
      else this.#answer(answered, answer).catch(() => answer.destroy());
    });
    const cut = () => {
      passed.destroy();
      answer.destroy();
    };
    this.#open.add(cut);
    if (isStream) this.open.streams += 1;
    passed.on('error', () => answer.destroy());
    answer.on('close', () => {
      if (isStream) this.open.streams -= 1;
      this.#open.delete(cut);
      passed.destroy();
    });
    passed.end(body);
  }

  /** Connects a WebSocket to Convoy. */
  #upgrade(incoming: IncomingMessage, page: Duplex): void {
    const { method, url: path, headers } = incoming;
    const passed = request({ port: this.#port, host: '127.0.0.1', method, path, headers });
    passed.on('error', () => page.destroy());
    passed.on('upgrade', (answered, convoy, head) => {
      const lines = answered.rawHeaders.flatMap((name, n, all) => (n % 2 === 0 ? [`${name}: ${all[n + 1]}`] : []));
      page.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`);
      page.write(head);
      this.open.sockets += 1;
      const cut = () => {
        page.destroy();
        convoy.destroy();
      };
      this.#open.add(cut);
      page.on('close', () => {
        this.open.sockets -= 1;
        this.#open.delete(cut);
        convoy.destroy();
      });
      convoy.on('close', () => page.destroy());
      for (const socket of [page, convoy]) socket.on('error', cut);
      page.pipe(convoy).pipe(page);
    });
    passed.end();
  }

  /** The parts of one response keep their order. */
  async #answer(answered: IncomingMessage, answer: ServerResponse): Promise<void> {
    await this.#delay();
    answer.writeHead(answered.statusCode ?? 502, answered.headers);
    answer.flushHeaders();
    for await (const chunk of answered) {
      await this.#delay();
      answer.write(chunk);
    }
    answer.end();
  }

  async #delay(): Promise<void> {
    if (this.slowMs > 0) await pause(this.#below(this.slowMs));
  }
}
