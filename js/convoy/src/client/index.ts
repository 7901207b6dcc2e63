/**
 * `@avvos/convoy/client`: references to functions, and the client that calls and watches them. Runs anywhere.
 *
 * @packageDocumentation
 */
export type {
  PageElementOf,
  PageResult,
  PaginatedArgsOf,
  PaginatedQueryCheck,
  PaginationOptions,
} from '../protocol/pages.js';
export { type Preloaded, preloadedQueryResult } from '../protocol/preloaded.js';
export {
  type ActionRef,
  type ApiRef,
  type ArgsOfRef,
  type MutationRef,
  makeActionRef,
  makeMutationRef,
  makeQueryRef,
  type QueryRef,
  type RefFor,
  type ResultOfRef,
} from '../protocol/refs.js';
export { ConvoyError, type ConvoyErrorCode, type ConvoyErrorPayload, isConvoyError } from '../values/errors.js';
export { type AsyncStore, indexedDbStore } from './async-store.js';
export type { CacheOptions } from './cached-transport.js';
export type { CallingClient } from './calling-client.js';
export {
  type CallArgs,
  type CallOptions,
  type ConvoyClient,
  type ConvoyClientOptions,
  createConvoyClient,
  type LiveQueryOptions,
  type MutationArgs,
  type MutationOptions,
} from './client.js';
export type { AuthSource, HeadersSource, TraceparentSource } from './endpoint.js';
export type { LiveQuery } from './live-query.js';
export type { OptimisticStore } from './optimistic-layers.js';
export type { PageListStatus } from './page-list.js';
export {
  type PaginatedQuery,
  type PaginatedQueryOptions,
  type PaginatedSnapshot,
  paginatedQuery,
} from './paginated-query.js';
export type { PersistOptions } from './persisted-mutations.js';
export { type PreloadQueryOptions, preloadQuery } from './preload-query.js';
export type { Liveness } from './shared-query.js';
export type { QuerySnapshot } from './snapshot.js';
export type {
  CallRequest,
  ConnectionView,
  InitialResult,
  MutationTracker,
  QueryAnswer,
  QueryConnectionState,
  ResultVersion,
  SubscribeRequest,
  Subscription,
  SubscriptionSink,
  Transport,
} from './transport.js';
