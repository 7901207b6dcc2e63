/**
 * The state of one live query at one moment, and how each event of a transport changes it. Pure; an event that changes
 * nothing returns the same object, and an equal result keeps the identity of its data, so that only changed parts
 * render again.
 */
import type { ConvoyError } from '../values/errors.js';
import type { ConnectionView } from './transport.js';

/** The argument of a listener of `watch`. */
export type QuerySnapshot<Data> = SnapshotBase &
  (
    | { readonly status: 'pending'; readonly data: null; readonly error: null }
    | { readonly status: 'success'; readonly data: Data; readonly error: null }
    /** `data` is the last result, or `null` where there was none or the caller may no longer see it. */
    | { readonly status: 'error'; readonly data: Data | null; readonly error: ConvoyError }
  );

interface SnapshotBase extends ConnectionView {
  /** There is data, but it may be outdated: there is no connection, or the query fails at the moment. */
  readonly isStale: boolean;
}

type Snapshot = QuerySnapshot<unknown>;

/** Before the first result: the snapshot that a server renders, and that of a query without listeners. */
export const PENDING: QuerySnapshot<never> = {
  status: 'pending',
  data: null,
  error: null,
  connectionState: 'connecting',
  isReconnecting: false,
  isStale: false,
};

/** `PENDING` for a query that opens no connection. */
export const PENDING_UNCONNECTED: QuerySnapshot<never> = { ...PENDING, connectionState: 'disabled' };

/** The snapshot of a query that starts with this result of an earlier time. */
export function withInitial(snapshot: Snapshot, initial: { readonly data: unknown } | undefined): Snapshot {
  return initial === undefined
    ? snapshot
    : withConnection(withResult(snapshot, initial.data), connectionViewOf(snapshot));
}

/** An equal result is the same object, so comparing identities is enough. */
export function withResult(snapshot: Snapshot, data: unknown): Snapshot {
  if (snapshot.status === 'success' && !snapshot.isStale && snapshot.data === data) return snapshot;
  return { ...connectionViewOf(snapshot), status: 'success', data, error: null, isStale: false };
}

/** The transport confirmed the last result as current, also after a failure. */
export function withSame(snapshot: Snapshot): Snapshot {
  return snapshot.status === 'pending' ? snapshot : withResult(snapshot, snapshot.data);
}

export function withFailure(snapshot: Snapshot, error: ConvoyError): Snapshot {
  const data = revokesData(error) ? null : snapshot.data;
  return { ...connectionViewOf(snapshot), status: 'error', data, error, isStale: data !== null };
}

/** A caller who may no longer run the query may not see its last result either. */
export function revokesData({ code }: ConvoyError): boolean {
  return code === 'UNAUTHORIZED' || code === 'FORBIDDEN';
}

export function withConnection(snapshot: Snapshot, view: ConnectionView): Snapshot {
  // Reopening the connection does not make the data current; only a result or `same` does.
  const isStale = snapshot.isStale || (view.connectionState !== 'open' && snapshot.status === 'success');
  const unchanged =
    view.connectionState === snapshot.connectionState &&
    view.isReconnecting === snapshot.isReconnecting &&
    isStale === snapshot.isStale;
  return unchanged ? snapshot : { ...snapshot, ...view, isStale };
}

function connectionViewOf({ connectionState, isReconnecting }: ConnectionView): ConnectionView {
  return { connectionState, isReconnecting };
}
