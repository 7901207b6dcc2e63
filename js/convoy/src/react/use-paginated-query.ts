/** `usePaginatedQuery`: a list that is loaded page by page, live, as React state. */
import { useMemo, useSyncExternalStore } from 'react';
import type { CallingClient } from '../client/calling-client.js';
import { canonicalArgs } from '../client/canonical.js';
import type { ConvoyClient } from '../client/client.js';
import {
  LOADING_FIRST_PAGE,
  type PaginatedQuery,
  type PaginatedQueryOptions,
  type PaginatedSnapshot,
  paginatedQuery,
} from '../client/paginated-query.js';
import { isSkipped, type SkipToken } from '../client/skip.js';
import type { PageElementOf, PaginatedArgsOf, PaginatedQueryCheck } from '../protocol/pages.js';
import type { Hooks, QueryArgument } from '../protocol/ref-kinds.js';
import type { AnyQueryRef, ApiRef } from '../protocol/refs.js';
import { useConvoy } from './context.js';

/** Options of `usePaginatedQuery`. */
export interface UsePaginatedQueryOptions extends PaginatedQueryOptions {
  /** A client other than the provider's. */
  readonly client?: ConvoyClient | CallingClient;
}

/** The result of `usePaginatedQuery`: the loaded list, and the function that loads more of it. */
export interface UsePaginatedQueryResult<Element> extends PaginatedSnapshot<Element> {
  /**
   * Loads the next page, of at most `numItems` elements. Does nothing while a page is loading, or if there are no more.
   * After an error it requests the pages that failed again.
   */
  readonly loadMore: (numItems: number) => void;
}

/**
 * The live list of the query `ref`, which returns pages, for `args`: its arguments without `paginationOpts`, compared by
 * value. Other arguments start with a first page again; another `initialNumItems` does not.
 */
export function usePaginatedQuery<Ref extends ApiRef>(
  ref: QueryArgument<Ref, Hooks, PaginatedQueryCheck<Ref>>,
  args: PaginatedArgsOf<Ref> | SkipToken | 'skip',
  options: UsePaginatedQueryOptions,
): UsePaginatedQueryResult<PageElementOf<Ref>>;
export function usePaginatedQuery<Ref extends AnyQueryRef>(
  ref: Ref & PaginatedQueryCheck<Ref>,
  args: PaginatedArgsOf<Ref> | SkipToken | 'skip',
  options: UsePaginatedQueryOptions,
): UsePaginatedQueryResult<PageElementOf<Ref>> {
  const client = useConvoy(options.client);
  const { initialNumItems } = options;
  const text = isSkipped(args) ? null : canonicalArgs(args);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another size does not start the list again.
  const query = useMemo(
    (): PaginatedQuery<PageElementOf<Ref>> =>
      text === null
        ? SKIPPED
        : // Parsed from the text the memo depends on, so that later mutations of `args` have no effect.
          paginatedQuery<Ref>(client, ref, JSON.parse(text) as PaginatedArgsOf<Ref>, { initialNumItems }),
    [client, ref, text],
  );
  const getServerSnapshot = text === null ? getSkipped : getLoading;
  const snapshot = useSyncExternalStore(query.subscribe, query.getSnapshot, getServerSnapshot);
  const { loadMore } = query;
  return useMemo(() => ({ ...snapshot, loadMore }), [snapshot, loadMore]);
}

const LOADING_NOTHING: PaginatedSnapshot<never> = { ...LOADING_FIRST_PAGE, isLoading: false };
const getLoading = () => LOADING_FIRST_PAGE;
const getSkipped = () => LOADING_NOTHING;

/** The query of a hook that is skipped. */
const SKIPPED: PaginatedQuery<never> = {
  getSnapshot: getSkipped,
  subscribe: () => () => {},
  loadMore: () => {},
};
