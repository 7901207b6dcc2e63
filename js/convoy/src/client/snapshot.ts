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

type Snapshot = QuerySnapshot<unknown>;

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

/** An equal result is the same object; that is how it is known to be no news. */
export function withResult(snapshot: Snapshot, data: unknown): Snapshot {
  if (snapshot.status === 'success' && !snapshot.isStale && snapshot.data === data) return snapshot;
  return { ...viewIn(snapshot), status: 'success', data, error: null, isStale: false };
}

/** The transport vouches for the last result, also after a failure. */
export function withSame(snapshot: Snapshot): Snapshot {
  return snapshot.status === 'pending' ? snapshot : withResult(snapshot, snapshot.data);
}

export function withFailure(snapshot: Snapshot, error: ConvoyError): Snapshot {
  const data = takesDataAway(error) ? null : snapshot.data;
  return { ...viewIn(snapshot), status: 'error', data, error, isStale: data !== null };
}

/** Someone who may not ask any more shall not go on looking at the last answer either. */
export function takesDataAway({ code }: ConvoyError): boolean {
  return code === 'UNAUTHORIZED' || code === 'FORBIDDEN';
}

export function withConnection(snapshot: Snapshot, view: ConnectionView): Snapshot {
  // A connection that is open again proves nothing yet: fresh is what a result or `same` says.
  const isStale = snapshot.isStale || (view.connectionState !== 'open' && snapshot.status === 'success');
  const unchanged =
    view.connectionState === snapshot.connectionState &&
    view.isReconnecting === snapshot.isReconnecting &&
    isStale === snapshot.isStale;
  return unchanged ? snapshot : { ...snapshot, ...view, isStale };
}

function viewIn({ connectionState, isReconnecting }: ConnectionView): ConnectionView {
  return { connectionState, isReconnecting };
}
