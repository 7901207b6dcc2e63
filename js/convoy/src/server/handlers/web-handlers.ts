/** Handlers for servers that pass a web `Request` and take a `Response`: Hono, Next.js and others. */

import type { NativeEngine } from '../native.js';
import { Exchange, NO_BODY, type RequestHead } from './exchange.js';

/** Answers one request. Paths that are not Convoy's get the status 404. Never rejects. */
export type WebHandler = (request: Request) => Promise<Response>;

/** By method, as modules of routes export them. All are the same function. */
export interface WebHandlers {
  /** Answers requests for streams and for the health of the server. */
  readonly GET: WebHandler;
  /** Answers calls and live streams. */
  readonly POST: WebHandler;
  /** Answers preflight requests of other origins. */
  readonly OPTIONS: WebHandler;
  /** Answers by HTTP routes. */
  readonly HEAD: WebHandler;
  /** Answers by HTTP routes. */
  readonly PUT: WebHandler;
  /** Answers by HTTP routes. */
  readonly PATCH: WebHandler;
  /** Answers by HTTP routes. */
  readonly DELETE: WebHandler;
}

export function webHandlers(engine: Pick<NativeEngine, 'exchange'>): WebHandlers {
  const handle = (request: Request): Promise<Response> => answer(engine, request);
  return { GET: handle, POST: handle, OPTIONS: handle, HEAD: handle, PUT: handle, PATCH: handle, DELETE: handle };
}

async function answer(engine: Pick<NativeEngine, 'exchange'>, request: Request): Promise<Response> {
  const hasBody = request.body !== null;
  const options = { answersUnknownPaths: true };
  const exchange = Exchange.begin(engine, headOf(request), hasBody ? { kind: 'pushed' } : NO_BODY, options);
  // Only for a request that no HTTP server accepts.
  if (exchange === null) return new Response(null, { status: 400 });
  request.signal.addEventListener('abort', () => exchange.close(), { once: true });
  if (request.signal.aborted) exchange.close();
  if (hasBody) void pushBody(request, exchange);
  const response = await exchange.respond();
  // Only if the client has left: the response is not sent.
  if (response === null) return new Response(null, { status: 499 });
  const { status, headers, streams, body } = response;
  const init = { status, headers: headers.map(([name, value]): [string, string] => [name, value]) };
  if (streams) return new Response(streamOf(exchange), init);
  return new Response(body.length > 0 ? (body as Uint8Array<ArrayBuffer>) : null, init);
}

function headOf(request: Request): RequestHead {
  const { pathname, search, host } = new URL(request.url);
  const headers = [...request.headers].flat();
  // Servers need not pass it on.
  if (!request.headers.has('host')) headers.push('host', host);
  return { method: request.method, url: pathname + search, headers, peer: null };
}

async function pushBody(request: Request, exchange: Exchange): Promise<void> {
  if (request.bodyUsed || request.body === null) {
    exchange.fail('The body of this request did not reach Convoy: other code has read it; pass on request.clone().');
    return;
  }
  const reader = request.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (!(await exchange.push(value))) return void (await reader.cancel());
    }
    exchange.end();
  } catch {
    // The connection failed, or other code has locked the body.
    exchange.fail('The body of this request did not arrive whole.');
  }
}

function streamOf(exchange: Exchange): ReadableStream<Uint8Array> {
  let fail = (_error: Error): void => {};
  const chunks = exchange.chunks(() => fail(new Error('The client has stopped reading.')));
  return new ReadableStream(
    {
      start: (controller) => {
        fail = (error) => controller.error(error);
      },
      pull: async (controller) => {
        const { done, value } = await chunks.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: () => exchange.close(),
    },
    // Pulls only what is read.
    { highWaterMark: 0 },
  );
}
