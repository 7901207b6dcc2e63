/**
 * `usePreloadedQuery`: the live result of a query that the server of the page has run. Rendered on the server and hydrated
 * with that result; then the query is watched, which transfers only what has changed since.
 */
import { useMemo, useSyncExternalStore } from 'react';
import type { CallingClient } from '../client/calling-client.js';
import type { ConvoyClient } from '../client/client.js';
import { type Preloaded, preloadedQueryResult } from '../protocol/preloaded.js';
import { type AnyQueryRef, type ArgsOfRef, makeQueryRef, type ResultOfRef } from '../protocol/refs.js';
import { useConvoy } from './context.js';

/** Options of `usePreloadedQuery`. */
export interface UsePreloadedQueryOptions {
  /** A client other than the provider's. */
  readonly client?: ConvoyClient | CallingClient;
}

/**
 * The live result of a preloaded query. Throws the `ConvoyError` of a query that fails and whose result the caller may no
 * longer see; after any other failure, returns the last result.
 */
export function usePreloadedQuery<Ref extends AnyQueryRef>(
  preloaded: Preloaded<Ref>,
  options: UsePreloadedQueryOptions = {},
): ResultOfRef<Ref> {
  const client = useConvoy(options.client);
  const { query, getServerSnapshot } = useMemo(() => {
    const data = preloadedQueryResult(preloaded);
    const { name, args, hash, position, persist } = preloaded;
    const ref = makeQueryRef<ArgsOfRef<Ref>, ResultOfRef<Ref>>(name, { persist });
    const query = client.liveQuery(ref, JSON.parse(args), { initial: { data, text: preloaded.data, hash, position } });
    const rendered = { data, status: 'success', error: null } as const;
    // Hydration must start with what the server has rendered, even if another component has a newer result by then.
    return { query, getServerSnapshot: () => rendered };
  }, [client, preloaded]);
  const snapshot = useSyncExternalStore<Snapshot>(query.subscribe, query.getSnapshot, getServerSnapshot);
  if (snapshot.status === 'error' && snapshot.data === null) throw snapshot.error;
  // Sound because a query with an initial result is pending only after such an error.
  return snapshot.data as ResultOfRef<Ref>;
}

interface Snapshot {
  readonly status: 'pending' | 'success' | 'error';
  readonly data: unknown;
  readonly error: unknown;
}
