/**
 * `@avvos/convoy/react`: hooks over a client.
 *
 * @packageDocumentation
 */
'use client';
export type { ActionFunction, MutationFunction } from '../client/component-query.js';
export { type SkipToken, skipToken } from '../client/skip.js';
export type { QueryConnectionState } from '../client/transport.js';
export { type Preloaded, preloadedQueryResult } from '../protocol/preloaded.js';
export { ConvoyProvider, type ConvoyProviderProps, useConvoy } from './context.js';
export { type UseActionOptions, useAction } from './use-action.js';
export { useConnectionState } from './use-connection-state.js';
export {
  type UseMutationOptions,
  type UseMutationResult,
  useMutation,
  useMutationState,
} from './use-mutation.js';
export {
  type UsePaginatedQueryOptions,
  type UsePaginatedQueryResult,
  usePaginatedQuery,
} from './use-paginated-query.js';
export { type UsePreloadedQueryOptions, usePreloadedQuery } from './use-preloaded-query.js';
export { type QueryEntry, type UseQueriesOptions, useQueries } from './use-queries.js';
export { type UseQueryArgs, type UseQueryOptions, type UseQueryResult, useQuery } from './use-query.js';
export {
  type UseSuspenseQueryArgs,
  type UseSuspenseQueryOptions,
  useSuspenseQuery,
} from './use-suspense-query.js';
