/**
 * Keeps an open session told of what is wanted and of who asks: one change after another, in order, each with all that
 * has come together meanwhile. What is not told when the link ends is part of the next link's opening.
 */
import type { SessionChange } from '../protocol/frames.js';
import { ConvoyError } from '../values/errors.js';
import type { Link } from './link.js';
import type { Session } from './session.js';

/** A change the server did not take in. */
export type Refused = (error: ConvoyError, change: SessionChange) => void;

/** A token that is accepted and refused again, this often in one go, will not get better by asking. */
const MOST_RENEWALS = { count: 3, withinMs: 10_000 } as const;

const UNHEARD = new ConvoyError('UNAVAILABLE', 'A change of what is watched was not answered');

export class Outbox {
  readonly #session: Session;
  readonly #refused: Refused;
  readonly #answerMs: number;
  #link: Link | null = null;
  /** Ends with the link. */
  #left: AbortSignal = AbortSignal.abort();
  #sending = false;
  #late: ReturnType<typeof setTimeout> | undefined;
  #renewalDue = false;
  /** When the server has asked for a token lately. */
  #demands: number[] = [];

  /** A change not answered within `answerMs` counts as refused by `UNAVAILABLE`: it holds up all that come after. */
  constructor(session: Session, refused: Refused, answerMs: number) {
    this.#session = session;
    this.#refused = refused;
    this.#answerMs = answerMs;
  }

  /** A link was opened, with the whole set and the token of this moment. */
  begin(link: Link, left: AbortSignal): void {
    this.#link = link;
    this.#left = left;
    this.#sending = false;
    this.#renewalDue = false;
    left.addEventListener('abort', () => clearTimeout(this.#late));
  }

  /** The session shall get the token of the moment. */
  renew(): void {
    this.#renewalDue = true;
  }

  /** The server asks for a token at `now`. False where it has been asked for, and given, too often to be of use. */
  demanded(now: number): boolean {
    this.#demands = this.#demands.filter((at) => now - at < MOST_RENEWALS.withinMs);
    if (this.#demands.length >= MOST_RENEWALS.count) return false;
    this.#demands.push(now);
    this.#renewalDue = true;
    return true;
  }

  /** Sends what the session has not been told, unless a change is on its way; then once that has arrived. */
  send(): void {
    const session = this.#session.name;
    if (this.#left.aborted || this.#link === null || session === null || this.#sending) return;
    const auth = this.#renewalDue;
    const change = this.#session.changes();
    if (change.add.length + change.remove.length === 0 && !auth) return;
    this.#sending = true;
    this.#renewalDue = false;
    const left = this.#left;
    const afterwards = (act: () => void) => {
      if (left.aborted) return;
      clearTimeout(this.#late);
      this.#sending = false;
      act();
      this.send();
    };
    this.#late = setTimeout(() => afterwards(() => this.#refused(UNHEARD, change)), this.#answerMs);
    this.#link.change({ ...change, session, auth }).then(
      () => afterwards(() => {}),
      (error: ConvoyError) =>
        afterwards(() => {
          // Refused for what it adds; the token that went with it was not taken in either.
          this.#renewalDue ||= auth && change.add.length > 0;
          this.#refused(error, change);
        }),
    );
  }
}
