/**
 * One attempt at a subscription's stream: opens it, reads it to its end, and says what it carried and why it ended.
 * It decides nothing about trying again.
 *
 * `fetch` rather than `EventSource`, so that headers and tokens travel and a refusal can be read.
 */
import { createParser } from 'eventsource-parser';
import { parseFrame, type SubscriptionFrame } from '../protocol/frames.js';
import { ConvoyError, isConvoyError } from '../values/errors.js';
import { type Endpoint, readRefusal, unreachable } from './endpoint.js';
import type { SubscribeRequest } from './transport.js';

export interface StreamAttempt extends SubscribeRequest {
  /** The hash of the result already held; the server then sends only what differs. */
  readonly lastEventId: string | null;
  readonly signal: AbortSignal;
}

/** What a stream reports while it lasts. */
export interface StreamReader {
  accepted(): void;
  /** Bytes came, of whatever kind. */
  alive(): void;
  retry(ms: number): void;
  comment(text: string): void;
  /** `id` is the result's hash. */
  frame(frame: SubscriptionFrame, id: string | null): void;
}

/** Why a stream ended. `refused` will not change by asking again. */
export interface StreamEnd {
  readonly kind: 'lost' | 'refused';
  readonly error: ConvoyError;
}

/** No frame can be larger: the server's own limit is 16 MiB for a result, and JSON escapes cost a little. */
const LARGEST_FRAME = 32 * 1024 * 1024;

export async function readStream(endpoint: Endpoint, attempt: StreamAttempt, reader: StreamReader): Promise<StreamEnd> {
  try {
    const response = await endpoint.send({
      method: 'GET',
      path: `/subscribe?${new URLSearchParams({ name: attempt.name, args: attempt.args })}`,
      headers: {
        accept: 'text/event-stream',
        ...(attempt.lastEventId === null ? {} : { 'last-event-id': attempt.lastEventId }),
      },
      signal: attempt.signal,
    });
    if (!isEventStream(response)) return endOf(await readRefusal(response));
    reader.accepted();
    await readEvents(response.body, reader);
    return { kind: 'lost', error: new ConvoyError('UNAVAILABLE', 'The server ended the stream') };
  } catch (error) {
    return endOf(isConvoyError(error) ? error : unreachable('The stream broke off', error));
  }
}

function isEventStream(response: Response): response is Response & { body: ReadableStream<Uint8Array> } {
  const type = response.headers.get('content-type') ?? '';
  return response.ok && response.body !== null && type.startsWith('text/event-stream');
}

async function readEvents(body: ReadableStream<Uint8Array>, reader: StreamReader): Promise<void> {
  const parser = createParser({
    maxBufferSize: LARGEST_FRAME,
    onRetry: (ms) => reader.retry(ms),
    onComment: (text) => reader.comment(text.trim()),
    onEvent: ({ data, id }) => {
      const frame = parseFrame(data);
      if (frame !== null) reader.frame(frame, id === undefined || id === '' ? null : id);
    },
  });
  const decoder = new TextDecoder();
  const chunks = body.getReader();
  for (;;) {
    const { done, value } = await chunks.read();
    if (done) return;
    reader.alive();
    parser.feed(decoder.decode(value, { stream: true }));
  }
}

/** Codes that may answer otherwise in a moment; the rest are about the question itself. */
const PASSING: ReadonlySet<ConvoyError['code']> = new Set(['UNAVAILABLE', 'TIMEOUT', 'RATE_LIMITED', 'INTERNAL']);

function endOf(error: ConvoyError): StreamEnd {
  return { kind: PASSING.has(error.code) ? 'lost' : 'refused', error };
}
