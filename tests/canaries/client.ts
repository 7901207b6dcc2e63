/** Requests whose every byte of the answer is kept. Each carries credentials, which are canaries too. */
import { WebSocket } from 'ws';
import type { World } from './world.js';

export interface Reply {
  /** What was asked. */
  readonly name: string;
  readonly isFailure: boolean;
  /** Status, headers and body, or the frames. */
  readonly text: string;
}

/** The ways to reach the function `how`. */
export type Surface =
  | 'query'
  | 'mutation'
  | 'loose'
  | 'action'
  | 'nested'
  | 'get'
  | 'subscribe'
  | 'live'
  | 'socket'
  | 'route'
  | 'called route';
export const SURFACES: readonly Surface[] = [
  'query',
  'action',
  'get',
  'subscribe',
  'live',
  'socket',
  'route',
  'loose',
  'nested',
  'called route',
];

export class Canaries {
  constructor(readonly world: World) {}

  /** Calls a function that fails by this cause. */
  call(surface: Surface, how: string): Promise<Reply> {
    const name = `${surface}: ${how}`;
    const args = JSON.stringify({ how });
    const inUrl = encodeURIComponent(args);
    const queries = [{ id: 1, name: 'fail.query', args: { how } }];
    switch (surface) {
      case 'query':
      case 'mutation':
      case 'action':
        return this.fetch(name, `/api/${surface}/fail.${surface}`, { method: 'POST', body: args });
      case 'loose':
        return this.fetch(name, '/api/mutation/fail.loose', { method: 'POST', body: args });
      case 'nested':
        return this.fetch(name, '/api/action/fail.nested', { method: 'POST', body: args });
      case 'get':
        return this.fetch(name, `/api/query/fail.cached?args=${inUrl}`, {});
      case 'subscribe':
        return this.fetch(name, `/api/subscribe?name=fail.query&args=${inUrl}`, {});
      case 'live':
        return this.fetch(name, '/api/live', { method: 'POST', body: JSON.stringify({ protocol: 1, queries }) });
      case 'socket':
        return this.socket(name, [{ type: 'open', protocol: 1, token: this.world.sent.token, queries }]);
      case 'route':
        return this.fetch(name, `/fail/${encodeURIComponent(how)}`, {});
      case 'called route':
        return this.fetch(name, `/calls/${encodeURIComponent(how)}`, { method: 'GET' });
    }
  }

  async fetch(name: string, path: string, init: RequestInit): Promise<Reply> {
    const { token, cookie, query } = this.world.sent;
    const url = new URL(path, this.world.baseUrl);
    url.searchParams.append('token', query);
    const own = { authorization: `Bearer ${token}`, cookie: `session=${cookie}`, 'content-type': 'application/json' };
    const headers = { ...own, ...(init.headers as object) };
    const response = await fetch(url, { ...init, headers, redirect: 'manual' });
    const head = [response.status, ...[...response.headers].map(([header, value]) => `${header}: ${value}`)].join('\n');
    const body = await read(response);
    return {
      name,
      isFailure: response.status >= 400 || body.includes('"type":"error"') || body.endsWith(BROKEN_OFF),
      text: `${head}\n${body}`,
    };
  }

  /** Sends these messages, and waits for an answer about a query, or for the end. */
  socket(name: string, messages: readonly (object | string)[]): Promise<Reply> {
    const { token, cookie, query } = this.world.sent;
    const url = `${this.world.baseUrl.replace('http', 'ws')}/api/ws?token=${query}`;
    const socket = new WebSocket(url, { headers: { authorization: `Bearer ${token}`, cookie: `session=${cookie}` } });
    return new Promise((resolve) => {
      let text = '';
      const end = (): void => {
        socket.close();
        resolve({ name, isFailure: text.includes('"type":"error"'), text });
      };
      socket.on('upgrade', (response) => (text += JSON.stringify(response.headers)));
      socket.on('unexpected-response', (_request, response) => {
        text += JSON.stringify([response.statusCode, response.headers, 'error']);
        response.on('data', (chunk) => (text += String(chunk))).on('end', end);
      });
      socket.on('open', () => {
        for (const message of messages) socket.send(typeof message === 'string' ? message : JSON.stringify(message));
      });
      socket.on('message', (data) => {
        text += String(data);
        if (/"type":"(error|result|end)"/.test(text)) end();
      });
      socket.on('close', end).on('error', end);
    });
  }
}

const BROKEN_OFF = '(broken off)';

/** The body; of a stream, up to the first answer. */
async function read(response: Response): Promise<string> {
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') ?? false;
  const decoder = new TextDecoder();
  let text = '';
  try {
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk, { stream: true });
      if (isStream && /"type":"(error|result|end)"/.test(text)) break;
    }
  } catch {
    // The server has broken the response off.
    return text + BROKEN_OFF;
  }
  return text;
}
