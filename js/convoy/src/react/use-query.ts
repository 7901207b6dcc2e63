/**
 * `useQuery`: a query's live result as React state. It uses `useSyncExternalStore` over a shared `LiveQuery`, so
 * renders never tear, StrictMode's double mounting opens one subscription, and a server renders the pending state.
 */
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import type { CallingClient } from '../client/calling-client.js';
import { canonicalArgs } from '../client/canonical.js';
import type { ConvoyClient } from '../client/client.js';
import type { LiveQuery } from '../client/live-query.js';
import { isSkipped, SKIPPED, type SkipToken } from '../client/skip.js';
import { PENDING, PENDING_UNCONNECTED, type QuerySnapshot, revokesData } from '../client/snapshot.js';
import type { QueryConnectionState } from '../client/transport.js';
import type { Hooks, QueryArgument } from '../protocol/ref-kinds.js';
import type { AnyQueryRef, ApiRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import type { ConvoyError } from '../values/errors.js';
import { useConvoy } from './context.js';

/** Options of `useQuery`. */
export interface UseQueryOptions {
  /** `false` does not run the query, like `skipToken`. */
  readonly enabled?: boolean;
  /** A client other than the provider's. */
  readonly client?: ConvoyClient | CallingClient;
  /** `false` calls the query once instead of keeping it current; `refetch` calls it again. */
  readonly subscribe?: boolean;
  /** Until new arguments have a result, keep returning the previous result, marked `isStale`. */
  readonly keepPrevious?: boolean;
  /**
   * The URL from which 0.0.1 streamed this query. Has no effect now that all queries of a client share its connection;
   * a URL that is not below the client's `baseUrl` logs a warning.
   */
  readonly subscribeUrl?: string;
}

/**
 * The result of `useQuery`: the latest result or error of the query, and the state of its connection. `status` tells
 * which of the three forms it has.
 */
export type UseQueryResult<Data, Args = never> = QueryResultBase<Data, Args> &
  (
    | { readonly status: 'pending'; readonly data: null; readonly error: null }
    | { readonly status: 'success'; readonly data: Data; readonly error: null }
    /** `data` is the last result for these arguments, if there was one. */
    | { readonly status: 'error'; readonly data: Data | null; readonly error: ConvoyError }
  );

interface QueryResultBase<Data, Args> {
  /** The query runs and has neither a result nor an error yet. */
  readonly isLoading: boolean;
  /** There is data, but it may not be the current result for these arguments. */
  readonly isStale: boolean;
  /** The client is connecting again, or the server cannot reach its database for this query. */
  readonly isReconnecting: boolean;
  /** `disabled` where the query is skipped, or called only once. */
  readonly connectionState: QueryConnectionState;
  /**
   * Requests the result again and resolves with it, or with `null` where there is none; a failure shows in `error`, so
   * this never rejects. Arguments passed here replace the hook's own until those change; an event, as in
   * `onClick={refetch}`, is ignored.
   */
  readonly refetch: (args?: Args | ReactEvent) => Promise<Data | null>;
}

/** The argument React passes to an event handler. */
interface ReactEvent {
  readonly nativeEvent: object;
}

/** Arguments, or the token that skips the query; optional where `{}` fits. */
export type UseQueryArgs<Ref> =
  Record<never, never> extends ArgsOfRef<Ref>
    ? [args?: ArgsOfRef<Ref> | SkipToken | 'skip', options?: UseQueryOptions]
    : [args: ArgsOfRef<Ref> | SkipToken | 'skip', options?: UseQueryOptions];

/** The live result of the query `ref` for `args`, which are compared by value. */
export function useQuery<Ref extends ApiRef>(
  ref: QueryArgument<Ref, Hooks>,
  ...args: UseQueryArgs<Ref>
): UseQueryResult<ResultOfRef<Ref>, ArgsOfRef<Ref>>;
export function useQuery<Ref extends AnyQueryRef>(
  ref: Ref,
  ...[args, options = {}]: UseQueryArgs<Ref>
): UseQueryResult<ResultOfRef<Ref>, ArgsOfRef<Ref>> {
  const client = useConvoy(options.client);
  const liveness = options.subscribe === false ? 'once' : 'live';
  useSubscribeUrlWarning(client, options.subscribeUrl);
  const ownArgs = isSkipped(args, options.enabled) ? null : canonicalArgs(args);
  const [override, setOverride] = useState<Override | null>(null);
  const currentArgs = override !== null && override.replaces === ownArgs ? override.args : ownArgs;
  const query = useMemo(
    // Parsed from the text the memo depends on, so that later mutations of `args` have no effect.
    () =>
      currentArgs === null ? SKIPPED : client.liveQuery(ref, JSON.parse(currentArgs) as ArgsOfRef<Ref>, { liveness }),
    [client, ref, currentArgs, liveness],
  );
  const getServerSnapshot = currentArgs === null || liveness === 'once' ? getUnconnected : getPending;
  const snapshot = useSyncExternalStore(query.subscribe, query.getSnapshot, getServerSnapshot);
  const previous = usePrevious(client, ref, snapshot);
  const refetch = useCallback(
    (args?: ArgsOfRef<Ref> | ReactEvent): Promise<ResultOfRef<Ref> | null> => {
      // Not arguments but an event, where `refetch` is an event handler.
      if (!isPlain(args)) return query.refetch();
      const newArgs = canonicalArgs(args);
      setOverride({ replaces: ownArgs, args: newArgs });
      return nextResult(client.liveQuery(ref, JSON.parse(newArgs) as ArgsOfRef<Ref>, { liveness }));
    },
    [client, ref, query, ownArgs, liveness],
  );
  const isLoading = currentArgs !== null && snapshot.status === 'pending';
  if (options.keepPrevious === true && snapshot.status === 'pending' && previous !== null) {
    return { ...snapshot, status: 'success', data: previous.data, isStale: true, isLoading: false, refetch };
  }
  return { ...snapshot, isLoading, refetch };
}

function useSubscribeUrlWarning(client: ConvoyClient, subscribeUrl: string | undefined): void {
  useEffect(() => {
    // Few pages have one. Where the code cannot be loaded, the warning is left out.
    if (subscribeUrl !== undefined)
      import('./subscribe-url.js').then((code) => code.warnOfSubscribeUrl(client, subscribeUrl)).catch(() => {});
  }, [client, subscribeUrl]);
}

/** Arguments that replace the hook's own. */
interface Override {
  /** The replaced ones; `null` where the query was skipped. */
  readonly replaces: string | null;
  readonly args: string;
}

function isPlain(args: unknown): boolean {
  return typeof args === 'object' && args !== null && Object.getPrototypeOf(args) === Object.prototype;
}

/** The next result of a query that may have other listeners already. */
async function nextResult<Data>(query: LiveQuery<Data>): Promise<Data | null> {
  let onChange = () => {};
  const isNew = query.getSnapshot().status === 'pending';
  const stop = query.subscribe(() => onChange());
  try {
    if (!isNew) return await query.refetch();
    // A request is in flight already, for this listener or another one.
    for (;;) {
      const { status, data, connectionState } = query.getSnapshot();
      if (status !== 'pending') return status === 'success' ? data : null;
      if (connectionState === 'closed') return null;
      await new Promise<void>((resolve) => {
        onChange = resolve;
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
 * The last result of `ref` that was rendered, for any arguments. Stored after React's commit, so that a render which
 * React discards has no effect.
 */
function usePrevious<Ref>(
  client: ConvoyClient,
  ref: Ref,
  snapshot: QuerySnapshot<ResultOfRef<Ref>>,
): Previous<Ref> | null {
  const last = useRef<Previous<Ref> | null>(null);
  useEffect(() => {
    if (snapshot.status === 'success') last.current = { client, ref, data: snapshot.data };
    // A caller who may no longer see the result may not see it under other arguments either.
    else if (snapshot.status === 'error' && revokesData(snapshot.error)) last.current = null;
  }, [client, ref, snapshot]);
  const previous = last.current;
  return previous !== null && previous.client === client && previous.ref === ref ? previous : null;
}

const getPending = () => PENDING;
const getUnconnected = () => PENDING_UNCONNECTED;
