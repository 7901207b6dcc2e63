/** A collector of OTLP over HTTP that keeps what it receives, and reads the spans in it. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ReceivedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for the first span of a trace. */
  readonly parentSpanId: string;
}

export class Collector {
  readonly #server: Server;
  #bytes = Buffer.alloc(0);
  readonly #spans: ReceivedSpan[] = [];
  #arrived: () => void = () => {};

  constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks);
        this.#bytes = Buffer.concat([this.#bytes, body]);
        if (request.url === '/v1/traces') this.#spans.push(...spansIn(body));
        response.end();
        this.#arrived();
      });
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Resolves once these bytes have arrived. */
  async has(text: string, encoding: 'hex' | 'utf8'): Promise<void> {
    while (!this.#bytes.includes(Buffer.from(text, encoding))) await this.#next();
  }

  /** Resolves with what `find` finds in all spans, once it finds something. */
  async find<T>(find: (spans: readonly ReceivedSpan[]) => T | undefined): Promise<T> {
    for (;;) {
      const found = find(this.#spans);
      if (found !== undefined) return found;
      await this.#next();
    }
  }

  #next(): Promise<void> {
    return new Promise<void>((resolve) => {
      this.#arrived = resolve;
    });
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** The spans of an `ExportTraceServiceRequest`. */
function spansIn(request: Buffer): ReceivedSpan[] {
  const scopes = messages(request, 1).flatMap((resource) => messages(resource, 2));
  return scopes
    .flatMap((scope) => messages(scope, 2))
    .map((span) => {
      const bytes = (field: number) => messages(span, field)[0] ?? Buffer.alloc(0);
      const [traceId, spanId, parentSpanId] = [1, 2, 4].map((field) => bytes(field).toString('hex'));
      return {
        name: bytes(5).toString(),
        traceId: traceId ?? '',
        spanId: spanId ?? '',
        parentSpanId: parentSpanId ?? '',
      };
    });
}

/** The values of one field of a message in protocol buffers, of those that have a length. */
function messages(message: Buffer, wanted: number): Buffer[] {
  const found: Buffer[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message.readUInt8(at++);
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const kind = key % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else {
      const end = varint() + at;
      if (Math.floor(key / 8) === wanted) found.push(message.subarray(at, end));
      at = end;
    }
  }
  return found;
}
