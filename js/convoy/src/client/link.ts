/**
 * One attempt at a live session, over whatever carries it: a stream (`stream-link.ts`), a WebSocket (`socket-link.ts`),
 * or plain calls where neither gets through (`polling-link.ts`). A link opens, says what it carried and why it ended. It
 * decides nothing about trying again.
 */
import type { LiveMessage, QueryWish, SessionChange } from '../protocol/frames.js';
import { ConvoyError } from '../values/errors.js';

export interface LinkAttempt {
  readonly queries: readonly QueryWish[];
  /** Aborted when nobody cares about this attempt any more; from then on nothing is reported. */
  readonly signal: AbortSignal;
}

/** What a link reports while it lasts. */
export interface LinkReader {
  /** The question has left: whatever the application needed for it (a token) is there. */
  asked(): void;
  /** The other side has taken the attempt up. A session must follow soon, or something between holds it back. */
  accepted(): void;
  /** Something came, be it a heartbeat. */
  alive(): void;
  /** Messages that belong together. */
  frame(messages: readonly LiveMessage[]): void;
  /** Last, and once. */
  ended(end: LinkEnd): void;
}

export type LinkEnd =
  /** It may work again in a moment. */
  | { readonly kind: 'lost'; readonly error: ConvoyError }
  /** Asking again would only be refused again. */
  | { readonly kind: 'refused'; readonly error: ConvoyError }
  /** What came cannot be read. */
  | { readonly kind: 'damaged'; readonly error: ConvoyError }
  /** Such links do not work here at all. */
  | { readonly kind: 'unfit'; readonly error: ConvoyError };

export interface LinkChange extends SessionChange {
  /** The session's name. */
  readonly session: string;
  /** Bring the caller's token of this moment. */
  readonly auth: boolean;
}

export interface Link {
  /** Resolves when the server has taken the change in; where it refuses, rejects with a `ConvoyError`. */
  change(change: LinkChange): Promise<void>;
}

export type OpenLink = (attempt: LinkAttempt, reader: LinkReader) => Link;

/** The ways a session can travel, the better ones first. */
export const WAYS = ['stream', 'socket', 'polling'] as const;
export type Way = (typeof WAYS)[number];

/** Codes that may be answered otherwise in a moment; the rest are about the question itself. */
const PASSING: ReadonlySet<ConvoyError['code']> = new Set(['UNAVAILABLE', 'TIMEOUT', 'RATE_LIMITED', 'INTERNAL']);

export function isPassing({ code }: ConvoyError): boolean {
  return PASSING.has(code);
}

export function endBy(error: ConvoyError): LinkEnd {
  return { kind: isPassing(error) ? 'lost' : 'refused', error };
}

export function damagedBy(what: string): LinkEnd & { readonly kind: 'damaged' } {
  return { kind: 'damaged', error: new ConvoyError('UNAVAILABLE', what) };
}
