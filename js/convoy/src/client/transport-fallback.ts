/**
 * Chooses the kind of link that carries the live session, as a pure function of how earlier links fared. The preferred
 * kind is tried first; a kind that fails in this environment is replaced by the next, one that works is kept, and the
 * preferred kind is retried after a while.
 */
import type { LinkKind } from './link.js';

export interface TransportState {
  /** All kinds, in order of preference. */
  readonly kinds: readonly LinkKind[];
  readonly kind: LinkKind;
  /** A link of this kind has carried a session, so later failures are the server's or the network's. */
  readonly proven: boolean;
  /** When the preferred kind failed, in milliseconds since 1970. */
  readonly preferredFailedAt: number;
}

/** How long after its failure the preferred kind is retried. */
export const RETRY_PREFERRED_AFTER_MS = 5 * 60_000;

/** The state of an environment in which no kind has been tried. */
export function untried(kinds: readonly LinkKind[]): TransportState {
  return { kinds, kind: kinds[0] ?? 'polling', proven: false, preferredFailedAt: 0 };
}

export function isPreferred({ kinds, kind }: TransportState): boolean {
  return kind === kinds[0];
}

/** The state after the current kind failed: the next kind; after the last one, the first. */
export function fallback(state: TransportState, now: number): TransportState {
  const { kinds, kind, preferredFailedAt } = state;
  const next = kinds[kinds.indexOf(kind) + 1];
  if (next === undefined) return untried(kinds);
  return { kinds, kind: next, proven: false, preferredFailedAt: isPreferred(state) ? now : preferredFailedAt };
}

export function proven(state: TransportState): TransportState {
  return state.proven ? state : { ...state, proven: true };
}

/** The state with which to connect at `now`. */
export function retryPreferred(state: TransportState, now: number): TransportState {
  const due = !isPreferred(state) && now - state.preferredFailedAt >= RETRY_PREFERRED_AFTER_MS;
  return due ? untried(state.kinds) : state;
}
