/**
 * One request to an HTTP route, and its response. The body of the request is pulled from the engine chunk by chunk, and
 * each chunk of the response waits until the engine has taken the one before.
 *
 * A route runs as an action: the run ends when the response was sent, so `ctx` can be used while a body streams.
 */

import { ConvoyError } from '../values/errors.js';
import { rethrowAsConvoyError } from './engine-errors.js';
import { internalAction, ResultError } from './functions.js';
import { bufferOf } from './handlers/exchange.js';
import type { NativeCalls } from './native.js';
import { ignore } from './observed-promise.js';
import type { NamedFunction } from './program.js';
import type { RootRun } from './root-run.js';
import type { ConvoyRoute } from './routes.js';

/** The input of a route as the engine passes it, beside the request. */
interface RouteInput {
  readonly params: Readonly<Record<string, string>>;
  readonly url: string;
  readonly hasBody: boolean;
}

/** A body that is complete at once is sent with its length, if its chunks before the last one are no larger. */
export const MAX_COLLECTED_BYTES = 65_536;

const EMPTY = Buffer.alloc(0);

/** A route as the function that answers a `RouteCall`. */
export function routeFunction(route: ConvoyRoute): NamedFunction {
  const handler = (ctx: object, call: RouteCall): Promise<void> => call.answer(route, ctx);
  return {
    name: `${route.method} ${route.path}`,
    definition: internalAction({ handler: handler as never }),
    isRoute: true,
  };
}

export class RouteCall {
  readonly #engine: NativeCalls;
  readonly #run: RootRun;
  readonly #params: RouteInput['params'];
  readonly #request: Request;
  readonly #client = new AbortController();
  /** Set when the client leaves before the response was sent. */
  #isClientGone = false;
  #isAnswered = false;

  /** Throws a `ConvoyError` for a request that the web's `Request` cannot represent. */
  constructor(engine: NativeCalls, run: RootRun, text: string) {
    this.#engine = engine;
    this.#run = run;
    const { params, url, hasBody } = JSON.parse(text) as RouteInput;
    this.#params = params;
    this.#request = this.#makeRequest(url, hasBody);
    run.call.onEnd(() => {
      if (!this.#isAnswered) this.#client.abort(run.endReason);
    });
    engine.clientGone(run.call.id).then((isGone) => {
      if (isGone) this.#onClientGone();
    }, ignore);
  }

  /** Calls the handler and sends its response. */
  async answer(route: ConvoyRoute, ctx: object): Promise<void> {
    try {
      const response: unknown = await route.handler(ctx, this.#request, this.#params);
      assertResponse(this.#run.fn.name, response);
      await this.#send(response);
    } catch (error) {
      // After the client has left, what was aborted for it is no error of the handler.
      if (!this.#isClientGone || !isAbort(error, this.#client.signal)) throw error;
    } finally {
      this.#isAnswered = true;
    }
  }

  #onClientGone(): void {
    if (this.#isAnswered) return;
    this.#isClientGone = true;
    this.#client.abort(new DOMException('The client has closed its connection.', 'AbortError'));
  }

  #makeRequest(url: string, hasBody: boolean): Request {
    const { method = 'GET', headers } = this.#run.caller.request ?? { headers: {} };
    const pairs = Object.entries(headers).flatMap(([name, value]) =>
      [value ?? []].flat().map((each): [string, string] => [name, each]),
    );
    const body = hasBody ? { body: this.#requestBody(), duplex: 'half' } : {};
    try {
      return new Request(url, { method, headers: pairs, signal: this.#client.signal, ...body } as RequestInit);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new ConvoyError('INVALID_ARGS', `The URL or the headers of this request are invalid: ${why}`);
    }
  }

  #requestBody(): ReadableStream<Uint8Array> {
    return new ReadableStream(
      {
        pull: async (controller) => {
          const chunk = await rethrowAsConvoyError(this.#engine.readBody(this.#run.call.id));
          if (chunk === null) controller.close();
          else controller.enqueue(chunk);
        },
      },
      // Pulls only what is read.
      { highWaterMark: 0 },
    );
  }

  async #send({ status, headers, body }: Response): Promise<void> {
    const head = JSON.stringify({ status, headers: [...headers] });
    if (body === null) {
      await this.#begin(head, EMPTY);
      return;
    }
    const reader = body.getReader();
    const cancel = (): void => void reader.cancel(this.#client.signal.reason).catch(ignore);
    this.#client.signal.addEventListener('abort', cancel, { once: true });
    if (this.#client.signal.aborted) cancel();
    try {
      const { collected, pending } = await collect(reader);
      if (pending === null) {
        await this.#begin(head, Buffer.concat(collected));
      } else if (this.#request.method === 'HEAD') {
        await this.#begin(head, EMPTY);
        await reader.cancel();
      } else {
        this.#engine.beginResponse(this.#run.call.id, head, null);
        await this.#stream(reader, collected, pending);
      }
    } catch (error) {
      reader.cancel(error).catch(ignore);
      throw error;
    } finally {
      this.#client.signal.removeEventListener('abort', cancel);
    }
  }

  /** Starts a response whose body is known, once the operations of the handler have ended. */
  async #begin(head: string, body: Buffer): Promise<void> {
    await this.#run.whenIdle();
    this.#engine.beginResponse(this.#run.call.id, head, body);
  }

  async #stream(reader: Reader, collected: readonly Uint8Array[], pending: Promise<Read>): Promise<void> {
    for (const chunk of collected) await this.#write(chunk);
    for (let next = await pending; !next.done; next = await reader.read()) await this.#write(next.value);
  }

  async #write(chunk: unknown): Promise<void> {
    if (!(chunk instanceof Uint8Array)) {
      throw new ResultError(
        `the body of the response of ${this.#run.fn.name} has a chunk that is no Uint8Array; encode text with a ` +
          'TextEncoder or a TextEncoderStream.',
      );
    }
    if (chunk.byteLength === 0) return;
    const isTaken = await this.#engine.writeResponse(this.#run.call.id, bufferOf(chunk));
    if (isTaken) return;
    this.#onClientGone();
    this.#client.signal.throwIfAborted();
  }
}

type Reader = ReadableStreamDefaultReader<Uint8Array>;
type Read = Awaited<ReturnType<Reader['read']>>;

/** The chunks that a body has at once, and the read that waits for more; `null` if the body is complete. */
async function collect(reader: Reader): Promise<{ collected: Uint8Array[]; pending: Promise<Read> | null }> {
  const later = new Promise<null>((resolve) => setImmediate(resolve, null));
  const collected: Uint8Array[] = [];
  for (let bytes = 0; ; ) {
    const pending = reader.read();
    // Its reader may fail before it awaits this.
    pending.catch(ignore);
    const next = await Promise.race([pending, later]);
    if (next === null) return { collected, pending };
    if (next.done) return { collected, pending: null };
    if (collected.length > 0 && bytes > MAX_COLLECTED_BYTES) return { collected, pending };
    bytes += next.value?.byteLength ?? 0;
    collected.push(next.value);
  }
}

function isAbort(error: unknown, { reason }: AbortSignal): boolean {
  return error === reason || (error instanceof Error && error.name === 'AbortError');
}

/** By its tag, since packages have their own class. */
function assertResponse(name: string, value: unknown): asserts value is Response {
  if (Object.prototype.toString.call(value) !== '[object Response]') {
    throw new ResultError(`${name} returned ${describe(value)}; a route returns a Response.`);
  }
  const { status, body, bodyUsed } = value as Response;
  if (status < 200 || status > 599) {
    throw new ResultError(`${name} returned a Response of the status ${status}, which cannot be sent.`);
  }
  if (bodyUsed || body?.locked) {
    throw new ResultError(
      `${name} returned a Response whose body has been read or is locked; return a new one, or a clone().`,
    );
  }
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  return typeof value === 'object' ? 'another object' : `a ${typeof value}`;
}
