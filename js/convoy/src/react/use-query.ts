/**
 * `useQuery`: a query's live answer as React state. All of it stands on `useSyncExternalStore` over a shared
 * `LiveQuery`, so screens never tear, StrictMode's double mounting costs nothing, and a server renders the pending state.
 */
import { useEffect, useMemo, useRef, useSyncExternalStore } from 'react';
import { canonicalArgs } from '../client/canonical.js';
import type { ConvoyClient } from '../client/client.js';
import type { LiveQuery } from '../client/live-query.js';
import { PENDING, PENDING_UNCONNECTED, type QuerySnapshot, takesDataAway } from '../client/snapshot.js';
import type { QueryConnectionState } from '../client/transport.js';
import type { AnyQueryRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import type { ConvoyError } from '../values/errors.js';
import { useConvoy } from './context.js';
import { isSkipped, type SkipToken } from './skip.js';

export interface UseQueryOptions {
  /** `false` asks nothing, like `skipToken`. */
  readonly enabled?: boolean;
  readonly client?: ConvoyClient;
  /** `false` asks once instead of staying current; `refetch` asks again. */
  readonly subscribe?: boolean;
  /** While new arguments have no answer yet, go on showing the last one, marked `isStale`. */
  readonly keepPrevious?: boolean;
}

export type UseQueryResult<Data> = QueryFacts &
  (
    | { readonly status: 'pending'; readonly data: null; readonly error: null }
    | { readonly status: 'success'; readonly data: Data; readonly error: null }
    /** `data` is the last answer to these arguments, where there was one. */
    | { readonly status: 'error'; readonly data: Data | null; readonly error: ConvoyError }
  );

interface QueryFacts {
  /** Asked, and neither answered nor failed yet. */
  readonly isLoading: boolean;
  /** There is data, and no certainty that it is the current answer to these arguments. */
  readonly isStale: boolean;
  readonly isReconnecting: boolean;
  /** `disabled` where nothing is asked, or asked only once. */
  readonly connectionState: QueryConnectionState;
  /** Asks anew, and resolves when that is answered; a failure shows in `error`, so this never rejects. */
  readonly refetch: () => Promise<void>;
}

/** Arguments, or the wish to wait; left out where `{}` fits. */
export type UseQueryArgs<Ref> =
  Record<never, never> extends ArgsOfRef<Ref>
    ? [args?: ArgsOfRef<Ref> | SkipToken | 'skip', options?: UseQueryOptions]
    : [args: ArgsOfRef<Ref> | SkipToken | 'skip', options?: UseQueryOptions];

/** The live answer of the query `ref` to `args`, which are compared by value. */
export function useQuery<Ref extends AnyQueryRef>(
  ref: Ref,
  ...[args, options = {}]: UseQueryArgs<Ref>
): UseQueryResult<ResultOfRef<Ref>> {
  const client = useConvoy(options.client);
  const liveness = options.subscribe === false ? 'once' : 'live';
  const asked = options.enabled === false || isSkipped(args) ? null : canonicalArgs(args);
  const query = useMemo(
    // Parsed back, so that the arguments are exactly what the memo depends on, and nobody changes them afterwards.
    () => (asked === null ? UNASKED : client.liveQuery(ref, JSON.parse(asked) as ArgsOfRef<Ref>, { liveness })),
    [client, ref, asked, liveness],
  );
  const getServerSnapshot = asked === null || liveness === 'once' ? getUnconnected : getPending;
  const snapshot = useSyncExternalStore(query.subscribe, query.getSnapshot, getServerSnapshot);
  const previous = usePrevious(client, ref, snapshot);
  const { refetch } = query;
  const isLoading = asked !== null && snapshot.status === 'pending';
  if (options.keepPrevious === true && snapshot.status === 'pending' && previous !== null) {
    return { ...snapshot, status: 'success', data: previous.data, isStale: true, isLoading: false, refetch };
  }
  return { ...snapshot, isLoading, refetch };
}

interface Previous<Ref> {
  readonly client: ConvoyClient;
  readonly ref: Ref;
  readonly data: ResultOfRef<Ref>;
}

/**
 * The last answer of `ref` that reached the screen, whatever its arguments were. Remembered after the commit, so that
 * a render which React throws away leaves no trace.
 */
function usePrevious<Ref>(
  client: ConvoyClient,
  ref: Ref,
  snapshot: QuerySnapshot<ResultOfRef<Ref>>,
): Previous<Ref> | null {
  const last = useRef<Previous<Ref> | null>(null);
  useEffect(() => {
    if (snapshot.status === 'success') last.current = { client, ref, data: snapshot.data };
    // Whom the answer was taken from shall not see it under other arguments either.
    else if (snapshot.status === 'error' && takesDataAway(snapshot.error)) last.current = null;
  }, [client, ref, snapshot]);
  const known = last.current;
  return known !== null && known.client === client && known.ref === ref ? known : null;
}

const getPending = () => PENDING;
const getUnconnected = () => PENDING_UNCONNECTED;

/** Stands in where nothing is asked. */
const UNASKED: LiveQuery<never> = {
  getSnapshot: getUnconnected,
  subscribe: () => () => {},
  refetch: () => Promise.resolve(),
};
