/**
 * A live session over `POST /api/live`: one `text/event-stream` whose events are frames, and a POST for each change.
 *
 * `fetch` rather than `EventSource`, so that headers and tokens travel and a refusal can be read.
 */
import { createParser } from 'eventsource-parser';
import { PROTOCOL, parseFrame } from '../protocol/frames.js';
import { ConvoyError, isConvoyError } from '../values/errors.js';
import { type Endpoint, readAnswer, readRefusal, unreachable } from './endpoint.js';
import {
  damagedBy,
  endBy,
  type Link,
  type LinkAttempt,
  type LinkChange,
  type LinkEnd,
  type LinkReader,
} from './link.js';

/** No frame can be larger: a result has at most 16 MiB, JSON escapes cost a little, and several may come together. */
const LARGEST_FRAME = 64 * 1024 * 1024;

export function openStream(endpoint: Endpoint, attempt: LinkAttempt, reader: LinkReader): Link {
  const caller: Caller = { token: null };
  void read(endpoint, attempt, reader, caller).then((end) => {
    if (!attempt.signal.aborted) reader.ended(end);
  });
  return { change: (change) => send(endpoint, change, attempt.signal, caller) };
}

/** Who the session belongs to: the token that the server has accepted last. */
interface Caller {
  token: string | null;
}

async function send(endpoint: Endpoint, change: LinkChange, signal: AbortSignal, caller: Caller): Promise<void> {
  const { session, auth, ...what } = change;
  const token = await endpoint.token();
  // Who signs in or out is another caller. The server would refuse, and a browser's console would show that in red.
  if ((token === null) !== (caller.token === null)) throw anotherCaller();
  const body = JSON.stringify({ ...what, ...(auth ? { auth } : {}) });
  await readAnswer(await endpoint.post({ path: `/live/${session}`, body, signal, token }));
  caller.token = token;
}

const anotherCaller = () => new ConvoyError('FORBIDDEN', 'The session belongs to another caller');

/** Never rejects: says how it ended. */
async function read(
  endpoint: Endpoint,
  { queries, signal }: LinkAttempt,
  reader: LinkReader,
  caller: Caller,
): Promise<LinkEnd> {
  let accepted = false;
  try {
    const body = JSON.stringify({ protocol: PROTOCOL, queries });
    const response = await endpoint.post({
      path: '/live',
      accept: 'text/event-stream',
      body,
      signal,
      sent: (token) => {
        caller.token = token;
        reader.asked();
      },
    });
    if (signal.aborted) return endBy(unreachable('The attempt was given up', signal.reason));
    const type = response.headers?.get('content-type') ?? '';
    if (!response.ok || !type.startsWith('text/event-stream')) throw await readRefusal(response);
    if (response.body === null) {
      // Some `fetch`es (React Native's) give a body only when it is complete, which this one never is.
      return { kind: 'unfit', error: new ConvoyError('UNAVAILABLE', 'This `fetch` does not stream answers') };
    }
    accepted = true;
    reader.accepted();
    return await readEvents(response.body, signal, reader);
  } catch (caught) {
    const error = isConvoyError(caught) ? caught : unreachable('The stream broke off', caught);
    return !accepted && !signal.aborted && endpoint.isOfStandIn(error) ? { kind: 'unfit', error } : endBy(error);
  }
}

async function readEvents(body: ReadableStream<Uint8Array>, signal: AbortSignal, reader: LinkReader): Promise<LinkEnd> {
  let damage: LinkEnd | null = null;
  const parser = createParser({
    maxBufferSize: LARGEST_FRAME,
    onEvent: ({ data }) => {
      // What a stream says after it was left is about the past.
      if (damage !== null || signal.aborted) return;
      const messages = parseFrame(data);
      if (messages === null) damage = damagedBy('The stream carried what is no message');
      else if (messages.length > 0) reader.frame(messages);
    },
  });
  const decoder = new TextDecoder();
  const chunks = body.getReader();
  for (;;) {
    const { done, value } = await chunks.read();
    if (done || signal.aborted) return endBy(unreachable('The server ended the stream', signal.reason));
    reader.alive();
    parser.feed(decoder.decode(value, { stream: true }));
    if (damage !== null) return damage;
  }
}
