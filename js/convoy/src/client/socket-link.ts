/**
 * A live session over a WebSocket, `GET /api/ws`: the same messages where a proxy holds back streams. One text message
 * is one frame; one of a newline alone is a heartbeat.
 *
 * A browser sends no headers of ours with it, so the token travels in the first message and `headers` not at all.
 */
import { PROTOCOL, parseFrame } from '../protocol/frames.js';
import { ConvoyError, isConvoyError } from '../values/errors.js';
import { type Endpoint, unreachable } from './endpoint.js';
import { damagedBy, endBy, type Link, type LinkAttempt, type LinkEnd, type LinkReader } from './link.js';

export function openSocket(endpoint: Endpoint, attempt: LinkAttempt, reader: LinkReader): Link {
  const { queries, signal } = attempt;
  let socket: WebSocket;
  try {
    socket = endpoint.socket('/ws');
  } catch (error) {
    const unfit = isConvoyError(error) ? error : unreachable('No WebSocket can be opened', error);
    queueMicrotask(() => signal.aborted || reader.ended({ kind: 'unfit', error: unfit }));
    return { change: () => Promise.reject(unfit) };
  }
  const over = new AbortController();
  const end = (how: LinkEnd) => {
    if (over.signal.aborted) return;
    over.abort();
    socket.close();
    reader.ended(how);
  };
  const say = async (message: object, withToken: boolean) => {
    const token = withToken ? await endpoint.token() : null;
    if (over.signal.aborted) return;
    socket.send(JSON.stringify({ ...message, ...(token ? { token } : {}) }));
  };
  // Not by `signal`, which not every WebSocket's `addEventListener` knows.
  const on = <Type extends keyof WebSocketEventMap>(type: Type, act: (event: WebSocketEventMap[Type]) => void) =>
    socket.addEventListener(type, (event) => over.signal.aborted || act(event));

  signal.addEventListener('abort', () => {
    over.abort();
    socket.close();
  });
  reader.asked();
  on('open', () => {
    const position = endpoint.position.latest;
    const open = { type: 'open', protocol: PROTOCOL, ...(position === null ? {} : { position }), queries };
    say(open, true).then(
      () => reader.accepted(),
      (error: ConvoyError) => end(endBy(error)),
    );
  });
  on('message', ({ data }) => {
    reader.alive();
    const messages = typeof data === 'string' ? parseFrame(data) : null;
    if (messages === null) end(damagedBy('The WebSocket carried what is no message'));
    else if (messages.length > 0) reader.frame(messages);
  });
  // Browsers say no more than this.
  on('error', () => end(endBy(new ConvoyError('UNAVAILABLE', 'The WebSocket failed'))));
  on('close', ({ code }) => end(endBy(new ConvoyError('UNAVAILABLE', `The WebSocket was closed (${code})`))));
  return {
    // The server answers no change by itself: what it refuses comes as a message.
    change: ({ add, remove, auth }) => say({ type: 'change', add, remove }, auth),
  };
}
