/**
 * A real HTTP server on a loopback port that says what a test tells it to: the far end of the client's wire, for tests
 * that are about the client. It keeps no data and runs no functions.
 */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';

/** One `GET /api/subscribe` that a client has open. */
export interface ScriptedStream {
  readonly name: string;
  readonly args: unknown;
  readonly headers: IncomingHttpHeaders;
  /** Sends a result; `id` is its hash. */
  result(data: unknown, id: string): void;
  error(error: { code: string; message: string }): void;
  /** Any bytes, as they are. */
  raw(bytes: string | Uint8Array): void;
  end(): void;
  /** Cuts the connection. */
  cut(): void;
  /** Settles when the client has gone, or the stream has ended. */
  readonly closed: Promise<void>;
}

export interface ScriptedCall {
  readonly kind: string;
  readonly name: string;
  readonly args: unknown;
  readonly headers: IncomingHttpHeaders;
}

/** What to answer: status, body (JSON unless a string), content type. */
export interface ScriptedAnswer {
  readonly status?: number;
  readonly body: unknown;
  readonly type?: string;
}

export class ScriptedServer {
  readonly #http: Server;
  readonly #arrived: ScriptedStream[] = [];
  readonly #waiting: ((stream: ScriptedStream) => void)[] = [];
  /** Every stream ever opened. */
  readonly streams: ScriptedStream[] = [];
  readonly calls: ScriptedCall[] = [];
  /** Answers calls; set by the test. */
  answer: (call: ScriptedCall) => ScriptedAnswer | Promise<ScriptedAnswer> = () => ({ body: { ok: true, data: null } });
  /** Refuses the next subscriptions while it returns an answer; `'cut'` closes the socket without one. */
  refuse: () => ScriptedAnswer | 'cut' | null = () => null;

  private constructor() {
    this.#http = createServer((request, response) => void this.#handle(request, response));
  }

  static async start(): Promise<ScriptedServer> {
    const server = new ScriptedServer();
    await new Promise<void>((resolve) => server.#http.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get baseUrl(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  /** The next stream a client opens, or has opened and nobody asked for yet. */
  nextStream(): Promise<ScriptedStream> {
    const arrived = this.#arrived.shift();
    return arrived ? Promise.resolve(arrived) : new Promise((resolve) => this.#waiting.push(resolve));
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    this.#http.closeAllConnections();
    await closed;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://scripted');
    if (url.pathname === '/api/subscribe') {
      const refusal = this.refuse();
      if (refusal === 'cut') request.socket.destroy();
      else if (refusal) reply(response, refusal);
      else this.#open(url, request, response);
      return;
    }
    const [, , kind = '', name = ''] = url.pathname.split('/');
    let body = '';
    for await (const chunk of request) body += chunk;
    const call = { kind, name: decodeURIComponent(name), args: JSON.parse(body), headers: request.headers };
    this.calls.push(call);
    reply(response, await this.answer(call));
  }

  #open(url: URL, request: IncomingMessage, response: ServerResponse): void {
    const name = url.searchParams.get('name') ?? '';
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(': connected\nretry: 50\n\n');
    const frame = (body: object, id?: string) =>
      response.write(`${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify({ ...body, name, ts: 1 })}\n\n`);
    const stream: ScriptedStream = {
      name,
      args: JSON.parse(url.searchParams.get('args') ?? 'null'),
      headers: request.headers,
      result: (data, id) => frame({ type: 'result', data }, id),
      error: (error) => frame({ type: 'error', error }),
      raw: (bytes) => response.write(bytes),
      end: () => response.end(),
      cut: () => request.socket.destroy(),
      closed: new Promise((resolve) => response.once('close', resolve)),
    };
    this.streams.push(stream);
    const waiting = this.#waiting.shift();
    if (waiting) waiting(stream);
    else this.#arrived.push(stream);
  }
}

function reply(response: ServerResponse, { status = 200, body, type = 'application/json' }: ScriptedAnswer): void {
  response.writeHead(status, { 'content-type': type });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}
