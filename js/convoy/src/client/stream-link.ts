/**
 * A live session over `POST /api/live`: one `text/event-stream` whose events are frames, and a POST for each change.
 *
 * `fetch` rather than `EventSource`, so that headers and tokens can be sent and the body of a refusal can be read.
 */
import { PROTOCOL, parseFrame } from '../protocol/frames.js';
import { ConvoyError, isConvoyError } from '../values/errors.js';
import { type Endpoint, readAnswer, throwRefusal, unavailable } from './endpoint.js';
import { EventStreamParser } from './event-stream.js';
import {
  endedByError,
  endedByProtocolError,
  type Link,
  type LinkAttempt,
  type LinkChange,
  type LinkEnd,
  type LinkListener,
} from './link.js';
import { MAX_STREAMS, mayStream } from './stream-limit.js';

/**
 * The most characters of one frame: more than the 256 MiB of the largest result that a function may have, and less than
 * the longest string of browsers for 64 bits.
 */
export const MAX_FRAME_CHARS = 300_000_000;

export function openStream(endpoint: Endpoint, attempt: LinkAttempt, listener: LinkListener): Link {
  const caller: Caller = { token: null };
  void read(endpoint, attempt, listener, caller).then((end) => {
    if (!attempt.signal.aborted) listener.ended(end);
  });
  return { change: (change) => send(endpoint, change, attempt.signal, caller) };
}

/** The caller that the session belongs to, by the token that the server accepted last. */
interface Caller {
  token: string | null;
}

async function send(endpoint: Endpoint, change: LinkChange, signal: AbortSignal, caller: Caller): Promise<void> {
  const { session, auth, ...update } = change;
  const token = await endpoint.token();
  // Signing in or out changes the caller. The server would refuse, and browsers log failed requests as errors.
  if ((token === null) !== (caller.token === null)) throw anotherCaller();
  const body = JSON.stringify({ ...update, ...(auth ? { auth } : {}) });
  await readAnswer(await endpoint.post({ path: `/live/${session}`, body, signal, token }));
  caller.token = token;
}

const tooManyStreams = () =>
  new ConvoyError(
    'UNAVAILABLE',
    `${MAX_STREAMS} other tabs have a stream to this server over HTTP/1.1, which allows about six connections for all tabs.`,
  );

const tooLarge = () =>
  new ConvoyError(
    'PAYLOAD_TOO_LARGE',
    `The server sent results of more than ${MAX_FRAME_CHARS} characters together. Read less, such as pages.`,
  );

const anotherCaller = () => new ConvoyError('FORBIDDEN', 'The session belongs to another caller.');

/** Reads the stream and returns how it ended. Never rejects. */
async function read(
  endpoint: Endpoint,
  { queries, signal }: LinkAttempt,
  listener: LinkListener,
  caller: Caller,
): Promise<LinkEnd> {
  let accepted = false;
  try {
    if (!(await mayStream(endpoint.baseUrl, signal))) return { kind: 'unsupported', error: tooManyStreams() };
    const body = JSON.stringify({ protocol: PROTOCOL, queries });
    const response = await endpoint.post({
      path: '/live',
      accept: 'text/event-stream',
      body,
      signal,
      onSend: (token) => {
        caller.token = token;
        listener.sent();
      },
    });
    if (signal.aborted) return endedByError(unavailable('The attempt was abandoned.', signal.reason));
    const type = response.headers?.get('content-type') ?? '';
    if (!response.ok || !type.startsWith('text/event-stream')) await throwRefusal(response);
    if (!response.body) {
      // Some implementations of `fetch` provide only complete bodies; this body never completes.
      return {
        kind: 'unsupported',
        error: new ConvoyError('UNAVAILABLE', 'This `fetch` does not stream response bodies.'),
      };
    }
    accepted = true;
    listener.accepted();
    return await readEvents(response.body, signal, listener);
  } catch (caught) {
    const error = isConvoyError(caught) ? caught : unavailable('The stream broke off.', caught);
    return !accepted && !signal.aborted && endpoint.isFromMockFetch(error)
      ? { kind: 'unsupported', error }
      : endedByError(error);
  }
}

async function readEvents(
  body: ReadableStream<Uint8Array>,
  signal: AbortSignal,
  listener: LinkListener,
): Promise<LinkEnd> {
  let protocolError: LinkEnd | null = null;
  const parser = new EventStreamParser(MAX_FRAME_CHARS, (data) => {
    // Events of an abandoned stream are outdated.
    if (protocolError !== null || signal.aborted) return;
    const messages = parseFrame(data);
    if (messages === null) protocolError = endedByProtocolError('The stream carried a malformed message.');
    else if (messages.length > 0) listener.frame(messages);
  });
  const decoder = new TextDecoder();
  const fits = (chunk: Uint8Array): boolean => {
    try {
      return parser.feed(decoder.decode(chunk, { stream: true }));
    } catch (error) {
      // The longest string of a browser for 32 bits is shorter than the limit.
      if (error instanceof RangeError) return false;
      throw error;
    }
  };
  const chunks = body.getReader();
  for (;;) {
    const { done, value } = await chunks.read();
    if (done || signal.aborted) return endedByError(unavailable('The server ended the stream.', signal.reason));
    listener.active();
    // The next stream would carry the same.
    if (!fits(value)) return endedByError(tooLarge());
    if (protocolError !== null) return protocolError;
  }
}
