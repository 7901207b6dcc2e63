/** Handlers for servers that pass Node's request and response: node:http, Express, Connect, middie, Koa, NestJS. */

import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { NativeEngine } from '../native.js';
import { download } from './download.js';
import { Exchange, type RequestHead, type ResponseHead } from './exchange.js';
import { findBody } from './parsed-body.js';

/**
 * A middleware. Answers requests for Convoy's paths and resolves to true when the response has ended. For other paths it
 * calls `next`, if there is one, and resolves to false.
 */
export type NodeHandler = (
  req: IncomingMessage,
  res: ServerResponse,
  next?: (error?: unknown) => void,
) => Promise<boolean>;

/**
 * A listener of the event `upgrade` of a server. Resolves to true if the request was one for Convoy's WebSocket, and to
 * false for other paths, which it leaves to other listeners, or answers with 404 if it is the only one.
 */
export type UpgradeHandler = (req: IncomingMessage, socket: Duplex, head: Buffer) => Promise<boolean>;

export function nodeHandler(engine: Pick<NativeEngine, 'exchange'>): NodeHandler {
  return async (req, res, next) => {
    const body = findBody(req);
    const exchange = Exchange.begin(engine, headOf(req), body.kind === 'lost' ? { kind: 'pushed' } : body);
    if (exchange === null) {
      next?.();
      return false;
    }
    res.once('close', () => exchange.close());
    if (res.destroyed) exchange.close();
    if (body.kind === 'lost') exchange.fail(body.reason);
    if (body.kind === 'pushed') req.pipe(exchange.upload(() => endUnread(req, res)));
    const response = await exchange.respond();
    // The client has left, or another middleware, such as a timeout, has answered.
    if (response === null || res.headersSent) {
      exchange.close();
      return true;
    }
    writeHead(res, response);
    if (response.streams) {
      res.flushHeaders();
      await download(exchange, res, () => flushCompressed(res));
    } else {
      res.end(response.body);
    }
    return true;
  };
}

export function upgradeHandler(engine: Pick<NativeEngine, 'exchange'>): UpgradeHandler {
  return async (req, socket, head) => {
    const exchange = Exchange.begin(engine, headOf(req), { kind: 'upgrade' });
    if (exchange === null) {
      const { server } = req.socket as { server?: { listenerCount(event: string): number } };
      if (server?.listenerCount('upgrade') === 1) {
        socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      }
      return false;
    }
    // A lost connection; `close` follows.
    socket.on('error', () => {});
    socket.once('close', () => exchange.close());
    if (socket.destroyed) exchange.close();
    const response = await exchange.respond();
    if (response === null) {
      socket.destroy();
      return true;
    }
    const isUpgraded = response.status === 101;
    socket.write(
      headText(response, isUpgraded ? [] : ['Connection: close', `Content-Length: ${response.body.length}`]),
    );
    if (!isUpgraded) {
      socket.end(response.body);
      return true;
    }
    const upload = exchange.upload(() => {});
    if (head.length > 0) upload.write(head);
    socket.pipe(upload);
    await download(exchange, socket);
    return true;
  };
}

function headOf(req: IncomingMessage): RequestHead {
  // Routers change `url`: the full one is in `originalUrl`.
  const { originalUrl } = req as { originalUrl?: string };
  const peer = req.socket?.remoteAddress ?? null;
  // In HTTP/2 the host is a pseudo-header, which the engine ignores.
  const { authority } = req as { authority?: string };
  const isHostMissing = authority !== undefined && req.headers.host === undefined;
  const headers = isHostMissing ? [...req.rawHeaders, 'host', authority] : req.rawHeaders;
  return { method: req.method ?? 'GET', url: originalUrl ?? req.url ?? '/', headers, peer };
}

function writeHead(res: ServerResponse, { status, headers }: ResponseHead): void {
  res.statusCode = status;
  for (const [name, value] of headers) {
    // A middleware may have set its own.
    if (name === 'vary' || name === 'set-cookie') res.appendHeader(name, value);
    else res.setHeader(name, value);
  }
}

/** Compression middleware adds `flush` to the response, and would else hold chunks back. */
function flushCompressed(res: ServerResponse): void {
  const { flush } = res as { flush?: unknown };
  if (typeof flush === 'function') flush.call(res);
}

/** Closes the connection after the response: the client is still sending a body that was refused. */
function endUnread(req: IncomingMessage, res: ServerResponse): void {
  if (res.writableFinished) req.destroy();
  else res.once('finish', () => req.destroy());
}

function headText({ status, headers }: ResponseHead, more: readonly string[]): string {
  const lines = [...headers.map(([name, value]) => `${name}: ${value}`), ...more];
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('\r\n')}\r\n\r\n`;
}
