/**
 * A live session over a WebSocket, `GET /api/ws`: the same messages, for where a proxy buffers streams. One text
 * message is one frame; a message of a single newline is a heartbeat.
 *
 * Browsers do not send custom headers with a WebSocket, so the token travels in the first message and `headers` cannot
 * be sent.
 */
import { PROTOCOL, parseFrame } from '../protocol/frames.js';
import { ConvoyError, isConvoyError } from '../values/errors.js';
import { type Endpoint, unavailable } from './endpoint.js';
import {
  endedByError,
  endedByProtocolError,
  type Link,
  type LinkAttempt,
  type LinkEnd,
  type LinkListener,
} from './link.js';

export function openSocket(endpoint: Endpoint, attempt: LinkAttempt, listener: LinkListener): Link {
  const { queries, signal } = attempt;
  let socket: WebSocket;
  try {
    socket = createSocket(endpoint);
  } catch (error) {
    const unsupported = isConvoyError(error) ? error : unavailable('No WebSocket can be opened.', error);
    queueMicrotask(() => signal.aborted || listener.ended({ kind: 'unsupported', error: unsupported }));
    return { change: () => Promise.reject(unsupported) };
  }
  const closed = new AbortController();
  const end = (reason: LinkEnd) => {
    if (closed.signal.aborted) return;
    closed.abort();
    socket.close();
    listener.ended(reason);
  };
  const send = async (message: object, withToken: boolean) => {
    const token = withToken ? await endpoint.token() : null;
    if (closed.signal.aborted) return;
    socket.send(JSON.stringify({ ...message, ...(token ? { token } : {}) }));
  };
  // Without the `signal` option, which not every WebSocket implementation's `addEventListener` supports.
  const on = <Type extends keyof WebSocketEventMap>(type: Type, handle: (event: WebSocketEventMap[Type]) => void) =>
    socket.addEventListener(type, (event) => closed.signal.aborted || handle(event));

  signal.addEventListener('abort', () => {
    closed.abort();
    socket.close();
  });
  listener.sent();
  on('open', () => {
    const position = endpoint.consistencyToken.latest;
    const open = { type: 'open', protocol: PROTOCOL, ...(position === null ? {} : { position }), queries };
    send(open, true).then(
      () => listener.accepted(),
      (error: ConvoyError) => end(endedByError(error)),
    );
  });
  on('message', ({ data }) => {
    listener.active();
    const messages = typeof data === 'string' ? parseFrame(data) : null;
    if (messages === null) end(endedByProtocolError('The WebSocket carried a malformed message.'));
    else if (messages.length > 0) listener.frame(messages);
  });
  // Browsers give no more detail than this.
  on('error', () => end(endedByError(new ConvoyError('UNAVAILABLE', 'The WebSocket failed.'))));
  on('close', ({ code }) => end(endedByError(new ConvoyError('UNAVAILABLE', `The WebSocket was closed (${code}).`))));
  return {
    // The server does not acknowledge changes; a refusal arrives as an `error` message.
    change: ({ add, remove, auth }) => send({ type: 'change', add, remove }, auth),
  };
}

/** Throws where there is no implementation, or where one could not carry the client's headers. */
function createSocket(endpoint: Endpoint): WebSocket {
  const { headers, WebSocket = globalThis.WebSocket } = endpoint.options;
  if (endpoint.isMock) throw unavailable('The `fetch` of this client is a mock without a server.', null);
  if (headers !== undefined) throw unavailable('A WebSocket cannot carry the `headers` of this client.', null);
  if (WebSocket === undefined) throw unavailable('This environment has no WebSocket.', null);
  return new WebSocket(endpoint.url('/ws').replace(/^http/, 'ws'));
}
