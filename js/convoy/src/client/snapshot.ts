/**
 * What is known of one live query at one moment, and how each report of a transport changes it. Pure; a report that
 * changes nothing gives back the same object, and an equal result keeps the identity of its data, so that a screen
 * only draws what differs.
 */
import type { ConvoyError } from '../values/errors.js';
import type { ConnectionView } from './transport.js';

/** What a listener of `watch` gets. */
export type QuerySnapshot<Data> = SnapshotFacts &
  (
    | { readonly status: 'pending'; readonly data: null; readonly error: null }
    | { readonly status: 'success'; readonly data: Data; readonly error: null }
    /** `data` is the last result, or `null` where there was none or it may no longer be seen. */
    | { readonly status: 'error'; readonly data: Data | null; readonly error: ConvoyError }
  );

interface SnapshotFacts extends ConnectionView {
  /** There is data, and no certainty that it is still the answer: the connection is away, or the query fails now. */
  readonly isStale: boolean;
}

/** A snapshot with the hash of its data, which listeners have no use for. */
export interface Held {
  readonly snapshot: QuerySnapshot<unknown>;
  readonly hash: string | null;
}

/** Before anything is known: what a server renders, and what a query is without listeners. */
export const PENDING: QuerySnapshot<never> = {
  status: 'pending',
  data: null,
  error: null,
  connectionState: 'connecting',
  isReconnecting: false,
  isStale: false,
};

/** The same where no connection is wanted. */
export const PENDING_UNCONNECTED: QuerySnapshot<never> = { ...PENDING, connectionState: 'disabled' };

export function withResult({ snapshot, hash: before }: Held, data: unknown, hash: string | null): Held {
  const equal = hash !== null && hash === before && snapshot.status !== 'pending';
  if (equal && snapshot.status === 'success' && !snapshot.isStale) return { snapshot, hash };
  const kept = equal ? snapshot.data : data;
  return { snapshot: { ...viewIn(snapshot), status: 'success', data: kept, error: null, isStale: false }, hash };
}

/** The transport vouches for what is held. */
export function withSame(held: Held): Held {
  if (held.snapshot.status !== 'success' || !held.snapshot.isStale) return held;
  return { ...held, snapshot: { ...held.snapshot, isStale: false } };
}

export function withFailure({ snapshot, hash }: Held, error: ConvoyError): Held {
  // Someone who may not ask any more shall not go on looking at the last answer either.
  const mayKeep = error.code !== 'UNAUTHORIZED' && error.code !== 'FORBIDDEN' && snapshot.data !== null;
  const data = mayKeep ? snapshot.data : null;
  return {
    snapshot: { ...viewIn(snapshot), status: 'error', data, error, isStale: mayKeep },
    hash: mayKeep ? hash : null,
  };
}

export function withConnection(held: Held, view: ConnectionView): Held {
  const { snapshot } = held;
  // A connection that is open again proves nothing yet: fresh is what a result or `same` says.
  const isStale = snapshot.isStale || (view.connectionState !== 'open' && snapshot.status === 'success');
  const unchanged =
    view.connectionState === snapshot.connectionState &&
    view.isReconnecting === snapshot.isReconnecting &&
    isStale === snapshot.isStale;
  return unchanged ? held : { ...held, snapshot: { ...snapshot, ...view, isStale } };
}

function viewIn({ connectionState, isReconnecting }: ConnectionView): ConnectionView {
  return { connectionState, isReconnecting };
}
