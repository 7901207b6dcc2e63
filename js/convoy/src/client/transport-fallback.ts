/**
 * Chooses the kind of link that carries the live session, as a pure function of how earlier links fared. The preferred
 * kind is tried first; a kind that fails in this environment is replaced by the next, one that works is kept, and the
 * preferred kind is retried after a while.
 */
import { LINK_KINDS, type LinkKind } from './link.js';

export interface TransportState {
  readonly kind: LinkKind;
  /** A link of this kind has carried a session, so later failures are the server's or the network's. */
  readonly proven: boolean;
  /** When the preferred kind failed, in milliseconds since 1970. */
  readonly preferredFailedAt: number;
}

/** How long after its failure the preferred kind is retried. */
export const RETRY_PREFERRED_AFTER_MS = 5 * 60_000;

export const PREFERRED: TransportState = { kind: 'stream', proven: false, preferredFailedAt: 0 };

/** The state after the current kind failed: the next kind; after the last one, the first. */
export function fallback({ kind, preferredFailedAt }: TransportState, now: number): TransportState {
  const next = LINK_KINDS[LINK_KINDS.indexOf(kind) + 1];
  if (next === undefined) return PREFERRED;
  return { kind: next, proven: false, preferredFailedAt: kind === PREFERRED.kind ? now : preferredFailedAt };
}

export function proven(state: TransportState): TransportState {
  return state.proven ? state : { ...state, proven: true };
}

/** The state with which to connect at `now`. */
export function retryPreferred(state: TransportState, now: number): TransportState {
  const due = state.kind !== PREFERRED.kind && now - state.preferredFailedAt >= RETRY_PREFERRED_AFTER_MS;
  return due ? PREFERRED : state;
}
