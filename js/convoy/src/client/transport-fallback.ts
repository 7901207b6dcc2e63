/**
 * Which way a live session travels, as a pure function of what the ways so far have shown. The best is tried first; one
 * that does not work here gives way to the next, what works is kept, and after a while the best is tried again.
 */
import { WAYS, type Way } from './link.js';

export interface TransportState {
  readonly way: Way;
  /** It has carried a session, so that its failures are the server's or the network's, and not its own. */
  readonly proven: boolean;
  /** When the best way was given up, in milliseconds since 1970. */
  readonly leftAt: number;
}

/** How long the best way is left alone after it has failed. */
export const BETTER_AFTER_MS = 5 * 60_000;

export const BEST: TransportState = { way: 'stream', proven: false, leftAt: 0 };

/** The way at hand does not work here. After the last one the first has its turn again. */
export function fallback({ way, leftAt }: TransportState, now: number): TransportState {
  const next = WAYS[WAYS.indexOf(way) + 1];
  return next === undefined ? BEST : { way: next, proven: false, leftAt: way === BEST.way ? now : leftAt };
}

export function proven(ways: TransportState): TransportState {
  return ways.proven ? ways : { ...ways, proven: true };
}

/** The ways to go by when a connection is made at `now`. */
export function retryPreferred(ways: TransportState, now: number): TransportState {
  return ways.way !== BEST.way && now - ways.leftAt >= BETTER_AFTER_MS ? BEST : ways;
}
