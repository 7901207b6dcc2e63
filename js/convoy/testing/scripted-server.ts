/**
 * A real HTTP server on a loopback port that sends the responses a test sets, for tests of the client. It has no data
 * and runs no functions.
 */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { AsyncQueue } from './async-queue.js';
import { ScriptedSession, type SessionWire } from './scripted-session.js';

export interface ScriptedCall {
  readonly kind: string;
  readonly name: string;
  readonly args: unknown;
  readonly headers: IncomingHttpHeaders;
}

/** A response: status, body (JSON unless a string), content type, headers. */
export interface ScriptedAnswer {
  readonly status?: number;
  readonly body: unknown;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export class ScriptedServer {
  readonly #http: Server;
  readonly #sockets = new WebSocketServer({ noServer: true });
  readonly #arrived = new AsyncQueue<ScriptedSession>();
  /** All sessions opened so far. */
  readonly sessions: ScriptedSession[] = [];
  readonly calls: ScriptedCall[] = [];
  /** Answers calls; set by the test. `'cut'` closes the socket without an answer. */
  answer: (call: ScriptedCall) => ScriptedAnswer | 'cut' | Promise<ScriptedAnswer | 'cut'> = () => ({
    body: { ok: true, data: null },
  });
  /** Refuses the next streams while it returns an answer; `'cut'` closes the socket without one. */
  refuse: () => ScriptedAnswer | 'cut' | null = () => null;
  /** Answers changes of sessions; null accepts them. */
  answerChange: (change: ScriptedChange) => ScriptedAnswer | null | Promise<ScriptedAnswer | null> = () => null;
  /** The part of a stream that a proxy before the server buffers and never passes on. */
  buffered: 'nothing' | 'the body' | 'the response' = 'nothing';
  /** Whether WebSockets get through. */
  sockets: 'open' | 'blocked' = 'open';

  private constructor() {
    this.#http = createServer((request, response) => void this.#handle(request, response));
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
  }

  static async start(): Promise<ScriptedServer> {
    const server = new ScriptedServer();
    await new Promise<void>((resolve) => server.#http.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get baseUrl(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  /** The next session a client opens, opened or to come, after those returned by earlier calls. */
  nextSession(): Promise<ScriptedSession> {
    return this.#arrived.next();
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    this.#http.closeAllConnections();
    for (const socket of this.#sockets.clients) socket.terminate();
    await closed;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, , kind = '', name = ''] = (request.url ?? '').split('/');
    const { headers } = request;
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = JSON.parse(text);
    if (kind !== 'live') {
      const call = { kind, name: decodeURIComponent(name), args: body, headers };
      this.calls.push(call);
      const answer = await this.answer(call);
      if (answer === 'cut') request.socket.destroy();
      else reply(response, this.#reporting(call, answer));
    } else if (name === '') {
      const refusal = this.refuse();
      if (refusal === 'cut') request.socket.destroy();
      else if (refusal) reply(response, refusal);
      else this.#stream(new ScriptedSession({ ...body, headers, wire: wireOf(response) }), response);
    } else {
      const change: ScriptedChange = { session: name, body, headers };
      const answer = await this.answerChange(change);
      if (answer === null) this.sessions.find(({ name }) => name === change.session)?.change(body, headers);
      reply(response, answer ?? { body: { ok: true, data: {} } });
    }
  }

  /** A server names the session of a mutation in its response, if it has that session. */
  #reporting({ headers }: ScriptedCall, answer: ScriptedAnswer): ScriptedAnswer {
    const session = headers['convoy-session'];
    if (typeof session !== 'string' || !this.sessions.some(({ name }) => name === session)) return answer;
    return { ...answer, headers: { 'convoy-session': session, ...answer.headers } };
  }

  #stream(session: ScriptedSession, response: ServerResponse): void {
    if (this.buffered !== 'the response') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
    }
    if (this.buffered === 'nothing') this.#open(session);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (this.sockets === 'blocked') {
      socket.destroy();
      return;
    }
    this.#sockets.handleUpgrade(request, socket, head, (socket) => {
      let session: ScriptedSession | null = null;
      socket.on('message', (data) => {
        const { type, ...message } = JSON.parse(data.toString());
        if (type === 'open') {
          session = new ScriptedSession({ ...message, headers: request.headers, wire: wireOfSocket(socket) });
          this.#open(session);
        } else {
          session?.change(message, request.headers);
        }
      });
    });
  }

  #open(session: ScriptedSession): void {
    session.send({ type: 'session', session: session.name, protocol: 1 });
    this.sessions.push(session);
    this.#arrived.add(session);
  }
}

/** A received `POST /api/live/<session>`. */
export interface ScriptedChange {
  readonly session: string;
  readonly body: { readonly add: readonly unknown[]; readonly remove: readonly number[]; readonly auth?: true };
  readonly headers: IncomingHttpHeaders;
}

function wireOf(response: ServerResponse): SessionWire {
  return {
    kind: 'stream',
    frame: (text) =>
      response.write(
        `${text
          .split('\n')
          .map((line) => `data: ${line}\n`)
          .join('')}\n`,
      ),
    raw: (bytes) => response.write(bytes),
    end: () => response.end(),
    cut: () => response.socket?.destroy(),
    closed: new Promise((resolve) => response.once('close', resolve)),
  };
}

function wireOfSocket(socket: WebSocket): SessionWire {
  return {
    kind: 'socket',
    frame: (text) => socket.send(text),
    raw: (bytes) => socket.send(bytes),
    end: () => socket.close(),
    cut: () => socket.terminate(),
    closed: new Promise((resolve) => socket.once('close', resolve)),
  };
}

function reply(response: ServerResponse, { status = 200, body, type, headers }: ScriptedAnswer): void {
  response.writeHead(status, { 'content-type': type ?? 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}
