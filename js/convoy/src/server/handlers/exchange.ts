/**
 * One request that another HTTP server has received, and its response by the engine, which has the routes, the limits and
 * the streams. This side only moves bytes; every wait has a bound or ends with the exchange.
 */

import { Writable } from 'node:stream';
import type { NativeEngine, NativeExchange } from '../native.js';

/** A request without its body. */
export interface RequestHead {
  readonly method: string;
  /** The path with the query string. */
  readonly url: string;
  /** Names and values alternate, as in Node's `rawHeaders`. */
  readonly headers: readonly string[];
  /** The address of the peer, if it is known. */
  readonly peer: string | null;
}

/** The body of a request. */
export type RequestBody =
  | { readonly kind: 'whole'; readonly bytes: Uint8Array }
  /** The caller pushes it, or says why it cannot. */
  | { readonly kind: 'pushed' }
  /** There is none; the bytes of the connection follow the response. */
  | { readonly kind: 'upgrade' };

export const NO_BODY: RequestBody = { kind: 'whole', bytes: new Uint8Array() };

/** The start of a response. */
export interface ResponseHead {
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Whether the body is a stream; else it is in `body`. */
  readonly streams: boolean;
  readonly body: Buffer;
}

export interface BeginOptions {
  /** Whether paths that are not Convoy's are answered with 404, instead of beginning no exchange. */
  readonly answersUnknownPaths?: boolean;
}

export class Exchange {
  readonly #native: NativeExchange;
  #slowReaderMs = 0;
  /** Runs while a chunk, or the start of a stream, waits for its reader. */
  #timer: NodeJS.Timeout | undefined;

  private constructor(native: NativeExchange) {
    this.#native = native;
  }

  /** Begins an exchange; `null` if the path is not one of Convoy's. */
  static begin(
    engine: Pick<NativeEngine, 'exchange'>,
    head: RequestHead,
    body: RequestBody,
    options: BeginOptions = {},
  ): Exchange | null {
    const { answersUnknownPaths = false } = options;
    const bytes = body.kind === 'whole' && body.bytes.length > 0 ? bufferOf(body.bytes) : null;
    const native = engine.exchange(JSON.stringify({ ...head, answersUnknownPaths }), body.kind, bytes);
    return native === null ? null : new Exchange(native);
  }

  /** Adds a chunk of the body or the connection; false if the engine takes no more. Waits while too many are queued. */
  async push(chunk: Uint8Array): Promise<boolean> {
    const bytes = bufferOf(chunk);
    for (;;) {
      const taken = this.#native.push(bytes);
      if (taken !== 'full') return taken === 'accepted';
      await this.#native.room();
    }
  }

  /** Ends the body. */
  end(): void {
    this.#native.end();
  }

  /** Ends the body with the reason that it cannot be read; the request is answered with it. */
  fail(reason: string): void {
    this.#native.fail(reason);
  }

  /** A stream that pushes what is written to it. `onClosed` is called if the engine takes no more; the rest is discarded. */
  upload(onClosed: () => void): Writable {
    let isOpen = true;
    return new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        if (!isOpen) return done();
        this.push(chunk).then((accepted) => {
          if (!accepted && isOpen) {
            isOpen = false;
            onClosed();
          }
          done();
        }, done);
      },
      final: (done) => {
        this.end();
        done();
      },
    });
  }

  /** The start of the response; `null` if the exchange was closed before. */
  async respond(): Promise<ResponseHead | null> {
    const response = await this.#native.respond();
    if (response === null) return null;
    const { status, headers, streams, slowReaderMs } = JSON.parse(response.head) as NativeHead;
    this.#slowReaderMs = slowReaderMs;
    if (streams) this.#awaitReader(() => {});
    const pairs = Array.from(
      { length: headers.length / 2 },
      (_, at) => [headers[2 * at] ?? '', headers[2 * at + 1] ?? ''] as const,
    );
    return { status, headers: pairs, streams, body: response.body };
  }

  /**
   * The chunks of a stream. Each is produced when the one before was consumed. If that takes longer than the limit for
   * slow readers, the exchange is closed and `onStalled` called. Throws if the stream fails half-way.
   */
  async *chunks(onStalled: () => void): AsyncGenerator<Buffer, void, undefined> {
    try {
      for (;;) {
        clearTimeout(this.#timer);
        const chunk = await this.#native.pull();
        if (chunk === null) return;
        this.#awaitReader(onStalled);
        yield chunk;
      }
    } finally {
      this.close();
    }
  }

  #awaitReader(onStalled: () => void): void {
    this.#timer = setTimeout(() => {
      this.close();
      onStalled();
    }, this.#slowReaderMs).unref();
  }

  /** Ends the exchange as if the client had closed its connection. May be called repeatedly. */
  close(): void {
    clearTimeout(this.#timer);
    this.#native.close();
  }
}

interface NativeHead {
  readonly status: number;
  readonly headers: readonly string[];
  readonly streams: boolean;
  readonly slowReaderMs: number;
}

/** The same bytes as a `Buffer`. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
