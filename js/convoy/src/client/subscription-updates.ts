/**
 * Sends an open session the changes to its query set and the caller's new tokens: one request at a time, each with all
 * changes made while the previous one was in flight. Changes unsent when the link ends are part of the next opening.
 */
import type { SessionChange } from '../protocol/frames.js';
import { ConvoyError } from '../values/errors.js';
import type { Link } from './link.js';
import type { Session } from './session.js';

/** Called with a change that the server refused or did not acknowledge. */
export type OnRefused = (error: ConvoyError, change: SessionChange) => void;

/** A server that requests a token more often in this time keeps rejecting it, so another retry would not help. */
export const MAX_TOKEN_REQUESTS = 3;
export const TOKEN_REQUESTS_MS = 10_000;

const UNACKNOWLEDGED = new ConvoyError('UNAVAILABLE', 'The server did not acknowledge a change of subscriptions.');

export class SubscriptionUpdates {
  readonly #session: Session;
  readonly #onRefused: OnRefused;
  readonly #timeoutMs: number;
  #link: Link | null = null;
  /** Aborted when the link ends. */
  #linkSignal: AbortSignal | null = null;
  #inFlight = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #tokenDue = false;
  /** When the server has requested a token lately. */
  #tokenRequests: number[] = [];

  /** A change not acknowledged within `timeoutMs` counts as refused with `UNAVAILABLE`: it blocks all later changes. */
  constructor(session: Session, onRefused: OnRefused, timeoutMs: number) {
    this.#session = session;
    this.#onRefused = onRefused;
    this.#timeoutMs = timeoutMs;
  }

  /** Starts on a new link, whose opening carries the whole query set and the current token. */
  start(link: Link, signal: AbortSignal): void {
    this.#link = link;
    this.#linkSignal = signal;
    this.#inFlight = false;
    this.#tokenDue = false;
    signal.addEventListener('abort', () => clearTimeout(this.#timer));
  }

  /** Makes the next change carry the current token. */
  renewToken(): void {
    this.#tokenDue = true;
  }

  /** The server requested a token at `now`. Returns false when it has done so too often for a retry to help. */
  tokenRequested(now: number): boolean {
    this.#tokenRequests = this.#tokenRequests.filter((at) => now - at < TOKEN_REQUESTS_MS);
    if (this.#tokenRequests.length >= MAX_TOKEN_REQUESTS) return false;
    this.#tokenRequests.push(now);
    this.#tokenDue = true;
    return true;
  }

  /** Sends the unsent changes; while a change is in flight, once that one is acknowledged. */
  flush(): void {
    const session = this.#session.name;
    const signal = this.#linkSignal;
    if (!signal || signal.aborted || this.#link === null || session === null || this.#inFlight) return;
    const auth = this.#tokenDue;
    const change = this.#session.takeChanges();
    if (change.add.length + change.remove.length === 0 && !auth) return;
    this.#inFlight = true;
    this.#tokenDue = false;
    const finish = (handle: () => void) => {
      if (signal.aborted) return;
      clearTimeout(this.#timer);
      this.#inFlight = false;
      handle();
      this.flush();
    };
    this.#timer = setTimeout(() => finish(() => this.#onRefused(UNACKNOWLEDGED, change)), this.#timeoutMs);
    this.#link.change({ ...change, session, auth }).then(
      () => finish(() => {}),
      (error: ConvoyError) =>
        finish(() => {
          // A change refused for the queries it adds did not deliver its token either.
          this.#tokenDue ||= auth && change.add.length > 0;
          this.#onRefused(error, change);
        }),
    );
  }
}
