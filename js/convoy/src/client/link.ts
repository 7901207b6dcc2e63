/**
 * One attempt at a live session over one carrier: a stream (`stream-link.ts`), a WebSocket (`socket-link.ts`), or plain
 * calls where neither gets through (`polling-link.ts`). A link opens, reports what it received and why it ended. Retry
 * decisions are the driver's (`live-connection.ts`).
 */
import { type LiveMessage, PROTOCOL, type QueryDescriptor, type SessionChange } from '../protocol/frames.js';
import { ConvoyError } from '../values/errors.js';

export interface LinkAttempt {
  readonly queries: readonly QueryDescriptor[];
  /** Aborted when the attempt is abandoned; from then on the link reports no events. */
  readonly signal: AbortSignal;
}

/** Receives a link's events. */
export interface LinkListener {
  /** The opening request was sent; everything it needed from the application (a token) was available. */
  sent(): void;
  /** The server accepted the attempt. A session must follow soon, or an intermediary is buffering it. */
  accepted(): void;
  /** Data arrived, at least a heartbeat. */
  active(): void;
  /** The messages of one frame. */
  frame(messages: readonly LiveMessage[]): void;
  /** The last event, sent once. */
  ended(end: LinkEnd): void;
}

export type LinkEnd =
  /** A transient failure: retry. */
  | { readonly kind: 'lost'; readonly error: ConvoyError }
  /** A permanent failure: a retry would be refused too. */
  | { readonly kind: 'refused'; readonly error: ConvoyError }
  /** The received data is malformed. */
  | { readonly kind: 'protocolError'; readonly error: ConvoyError }
  /** Links of this kind do not work in this environment. */
  | { readonly kind: 'unsupported'; readonly error: ConvoyError };

export interface LinkChange extends SessionChange {
  /** The session's name. */
  readonly session: string;
  /** Send the caller's current token along. */
  readonly auth: boolean;
}

export interface Link {
  /** Resolves when the server has accepted the change; rejects with a `ConvoyError` when it refuses it. */
  change(change: LinkChange): Promise<void>;
}

export type OpenLink = (attempt: LinkAttempt, listener: LinkListener) => Link;

/** The kinds of link that can carry a session. */
export type LinkKind = 'stream' | 'socket' | 'polling';

/** Codes of transient errors, for which a retry may succeed; all others are about the request itself. */
const TRANSIENT: ReadonlySet<ConvoyError['code']> = new Set(['UNAVAILABLE', 'TIMEOUT', 'RATE_LIMITED', 'INTERNAL']);

export function isTransient({ code }: ConvoyError): boolean {
  return TRANSIENT.has(code);
}

export function endedByError(error: ConvoyError): LinkEnd {
  return { kind: isTransient(error) ? 'lost' : 'refused', error };
}

export function endedByProtocolError(message: string): LinkEnd & { readonly kind: 'protocolError' } {
  return { kind: 'protocolError', error: new ConvoyError('UNAVAILABLE', message) };
}

export function protocolMismatch(serverProtocol: number): ConvoyError {
  const mismatch = `The server uses protocol ${serverProtocol}, this client protocol ${PROTOCOL}`;
  return new ConvoyError('INTERNAL', `${mismatch}: reload the page, or deploy the same version to both.`);
}
