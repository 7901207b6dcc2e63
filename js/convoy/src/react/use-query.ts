/**
 * `useQuery`: a query's live answer as React state. All of it stands on `useSyncExternalStore` over a shared
 * `LiveQuery`, so screens never tear, StrictMode's double mounting costs nothing, and a server renders the pending state.
 */
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import type { CallingClient } from '../client/calling-client.js';
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
  readonly client?: ConvoyClient | CallingClient;
  /** `false` asks once instead of staying current; `refetch` asks again. */
  readonly subscribe?: boolean;
  /** While new arguments have no answer yet, go on showing the last one, marked `isStale`. */
  readonly keepPrevious?: boolean;
  /**
   * Where 0.0.1 opened the stream of this query. Now all queries of a client share its connection, so this has no effect;
   * one that is not below the client's `baseUrl` is warned of.
   */
  readonly subscribeUrl?: string;
}

export type UseQueryResult<Data, Args = never> = QueryFacts<Data, Args> &
  (
    | { readonly status: 'pending'; readonly data: null; readonly error: null }
    | { readonly status: 'success'; readonly data: Data; readonly error: null }
    /** `data` is the last answer to these arguments, where there was one. */
    | { readonly status: 'error'; readonly data: Data | null; readonly error: ConvoyError }
  );

interface QueryFacts<Data, Args> {
  /** Asked, and neither answered nor failed yet. */
  readonly isLoading: boolean;
  /** There is data, and no certainty that it is the current answer to these arguments. */
  readonly isStale: boolean;
  readonly isReconnecting: boolean;
  /** `disabled` where nothing is asked, or asked only once. */
  readonly connectionState: QueryConnectionState;
  /**
   * Asks again and resolves with the answer, or with `null` where there is none; a failure shows in `error`, so this
   * never rejects. Other arguments given here take the place of the hook's own, until those change; an event, as in
   * `onClick={refetch}`, is ignored.
   */
  readonly refetch: (args?: Args | EventOfReact) => Promise<Data | null>;
}

/** What React passes to an event handler. */
interface EventOfReact {
  readonly nativeEvent: object;
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
): UseQueryResult<ResultOfRef<Ref>, ArgsOfRef<Ref>> {
  const client = useConvoy(options.client);
  const liveness = options.subscribe === false ? 'once' : 'live';
  useWarningElsewhere(client, options.subscribeUrl);
  const own = options.enabled === false || isSkipped(args) ? null : canonicalArgs(args);
  const [override, setOverride] = useState<Override | null>(null);
  const asked = override !== null && override.of === own ? override.args : own;
  const query = useMemo(
    // Parsed back, so that the arguments are exactly what the memo depends on, and nobody changes them afterwards.
    () => (asked === null ? UNASKED : client.liveQuery(ref, JSON.parse(asked) as ArgsOfRef<Ref>, { liveness })),
    [client, ref, asked, liveness],
  );
  const getServerSnapshot = asked === null || liveness === 'once' ? getUnconnected : getPending;
  const snapshot = useSyncExternalStore(query.subscribe, query.getSnapshot, getServerSnapshot);
  const previous = usePrevious(client, ref, snapshot);
  const refetch = useCallback(
    (args?: ArgsOfRef<Ref> | EventOfReact): Promise<ResultOfRef<Ref> | null> => {
      // An event handler is given an event.
      if (!isPlain(args)) return query.refetch();
      const other = canonicalArgs(args);
      setOverride({ of: own, args: other });
      return answerOf(client.liveQuery(ref, JSON.parse(other) as ArgsOfRef<Ref>, { liveness }));
    },
    [client, ref, query, own, liveness],
  );
  const isLoading = asked !== null && snapshot.status === 'pending';
  if (options.keepPrevious === true && snapshot.status === 'pending' && previous !== null) {
    return { ...snapshot, status: 'success', data: previous.data, isStale: true, isLoading: false, refetch };
  }
  return { ...snapshot, isLoading, refetch };
}

/** Clients whose queries name another address: each is warned of once. */
const warnedElsewhere = new WeakSet<ConvoyClient>();

function useWarningElsewhere(client: ConvoyClient, subscribeUrl: string | undefined): void {
  useEffect(() => {
    if (subscribeUrl === undefined || warnedElsewhere.has(client)) return;
    if (!URL.canParse(subscribeUrl) || !URL.canParse(client.baseUrl)) return;
    if (new URL(subscribeUrl).href.startsWith(new URL(client.baseUrl).href)) return;
    warnedElsewhere.add(client);
    console.warn(
      `Convoy: \`subscribeUrl\` (${subscribeUrl}) has no effect. Queries are watched where they are asked, at ` +
        `${client.baseUrl}; for another server pass createConvoyClient({ baseUrl }) to a ConvoyProvider.`,
    );
  }, [client, subscribeUrl]);
}

/** Arguments that stand in for the hook's own. */
interface Override {
  /** The ones they stand in for; `null` where nothing was asked. */
  readonly of: string | null;
  readonly args: string;
}

function isPlain(args: unknown): boolean {
  return typeof args === 'object' && args !== null && Object.getPrototypeOf(args) === Object.prototype;
}

/** The next answer of a query that others may watch already. */
async function answerOf<Data>(query: LiveQuery<Data>): Promise<Data | null> {
  let wake = () => {};
  const isNew = query.getSnapshot().status === 'pending';
  const stop = query.subscribe(() => wake());
  try {
    if (!isNew) return await query.refetch();
    // It is being asked already, for this listener or another one.
    for (;;) {
      const { status, data, connectionState } = query.getSnapshot();
      if (status !== 'pending') return status === 'success' ? data : null;
      if (connectionState === 'closed') return null;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    stop();
  }
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
  refetch: () => Promise.resolve(null),
  isBehind: () => false,
};
