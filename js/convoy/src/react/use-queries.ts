/** `useQueries`: any number of live queries in one hook, for lists of queries whose length changes. */
import { useMemo, useSyncExternalStore } from 'react';
import type { CallingClient } from '../client/calling-client.js';
import { canonicalArgs } from '../client/canonical.js';
import type { ConvoyClient } from '../client/client.js';
import type { LiveQuery } from '../client/live-query.js';
import { isSkipped, SKIPPED, type SkipToken } from '../client/skip.js';
import { PENDING, type QuerySnapshot } from '../client/snapshot.js';
import { nameOfRef } from '../protocol/name-of-ref.js';
import type { Hooks, QueryArgument } from '../protocol/ref-kinds.js';
import type { AnyQueryRef, ApiRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import { useConvoy } from './context.js';
import type { UseQueryResult } from './use-query.js';

/** A query of `useQueries`. */
export type QueryEntry<Ref extends ApiRef> = { readonly ref: QueryArgument<Ref, Hooks> } & (Record<
  never,
  never
> extends ArgsOfRef<Ref>
  ? { readonly args?: ArgsOfRef<Ref> | SkipToken | 'skip' }
  : { readonly args: ArgsOfRef<Ref> | SkipToken | 'skip' });

/** Options of `useQueries`. */
export interface UseQueriesOptions {
  /** A client other than the provider's. */
  readonly client?: ConvoyClient | CallingClient;
}

/**
 * The live results of `queries`, by their names. Names and arguments are compared by value: the object may be a new one
 * on each render. The result of a query that has not changed is the same object.
 */
export function useQueries<Refs extends Readonly<Record<string, ApiRef>>>(
  queries: { readonly [Name in keyof Refs]: QueryEntry<Refs[Name]> },
  options?: UseQueriesOptions,
): { readonly [Name in keyof Refs]: UseQueryResult<ResultOfRef<Refs[Name]>> };
export function useQueries(
  queries: Readonly<Record<string, QueryEntry<AnyQueryRef>>>,
  options: UseQueriesOptions = {},
): Results {
  const client = useConvoy(options.client);
  const entries = Object.entries(queries).map(([name, { ref, args }]) => ({
    name,
    ref,
    args: isSkipped(args) ? null : canonicalArgs(args),
  }));
  const key = JSON.stringify(entries.map(({ name, ref, args }) => [name, nameOfRef(ref), args]));
  // References with the same name are the same function.
  // biome-ignore lint/correctness/useExhaustiveDependencies: `key` stands for `entries`, which are new on each render
  const store = useMemo(() => new QueriesStore(client, entries), [client, key]);
  return useSyncExternalStore(store.subscribe, store.getSnapshot, store.getServerSnapshot);
}

interface NamedQuery {
  readonly name: string;
  readonly ref: AnyQueryRef;
  /** Canonical JSON; `null` where the query is skipped. */
  readonly args: string | null;
}

type Result = UseQueryResult<unknown>;
type Results = Readonly<Record<string, Result>>;

/** Several live queries as one store of React. */
class QueriesStore {
  readonly #queries: readonly (NamedQuery & { readonly query: LiveQuery<unknown> })[];
  /** The last snapshot of each query, with the result made from it. */
  readonly #last = new Map<string, { readonly snapshot: QuerySnapshot<unknown>; readonly result: Result }>();
  #results: Results | null = null;

  constructor(client: ConvoyClient, queries: readonly NamedQuery[]) {
    this.#queries = queries.map((one) => ({
      ...one,
      query: one.args === null ? SKIPPED : client.liveQuery(one.ref, JSON.parse(one.args)),
    }));
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    const stops = this.#queries.map(({ query }) => query.subscribe(listener));
    return () => {
      for (const stop of stops) stop();
    };
  };

  readonly getSnapshot = (): Results => this.#resultsOf((query) => query.getSnapshot());

  readonly getServerSnapshot = (): Results =>
    this.#resultsOf((query) => (query === SKIPPED ? SKIPPED.getSnapshot() : PENDING));

  #resultsOf(snapshotOf: (query: LiveQuery<unknown>) => QuerySnapshot<unknown>): Results {
    let changed = this.#results === null;
    for (const { name, query } of this.#queries) {
      const snapshot = snapshotOf(query);
      if (this.#last.get(name)?.snapshot === snapshot) continue;
      changed = true;
      const refetch = () => query.refetch();
      const isLoading = query !== SKIPPED && snapshot.status === 'pending';
      this.#last.set(name, { snapshot, result: { ...snapshot, isLoading, refetch } });
    }
    if (changed || this.#results === null) {
      this.#results = Object.fromEntries([...this.#last].map(([name, { result }]) => [name, result]));
    }
    return this.#results;
  }
}
