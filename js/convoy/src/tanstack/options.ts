/**
 * Options for the hooks and methods of TanStack Query. They are plain objects without a client: the `QueryClient` that
 * runs them has one. Only types are imported, so they fit the adapters of all frameworks.
 */

import type { DataTag } from '@tanstack/query-core';
import { canonicalArgs } from '../client/canonical.js';
import type { MutationArgs, MutationOptions } from '../client/client.js';
import { loadOptimistic } from '../client/load-optimistic.js';
import { nameOfRef } from '../protocol/name-of-ref.js';
import type { MutationArgument, OptionMakers, QueryArgument } from '../protocol/ref-kinds.js';
import type { AnyMutationRef, AnyQueryRef, ApiRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import type { ConvoyError } from '../values/errors.js';
import { isLive, KEY } from './live-cache.js';
import { type AnyQueryClient, liveCacheOf } from './provide.js';

/** The options that `queryOptions` returns. */
export interface LiveQueryOptions<Ref extends ApiRef> {
  /** `['convoy', name, args]`. It has the type of the result, for `getQueryData` and `setQueryData`. */
  readonly queryKey: DataTag<readonly [string, string, ArgsOfRef<Ref>], ResultOfRef<Ref>, ConvoyError>;
  /** Resolves with the first result, or with one requested again; later results go to the cache by themselves. */
  readonly queryFn: (context: QueryContext) => Promise<ResultOfRef<Ref>>;
  /** Infinity while the query is live, else 0. */
  readonly staleTime: (query: object) => number;
  /** Fetches a result from a server's rendering or an earlier component, which is not live, when it is used again. */
  readonly refetchOnMount: (query: object) => boolean | 'always';
  /** Never: the client repeats requests itself, and an error is final until the query's data change. */
  readonly retry: false;
  /** Not set; it tells TanStack Query the type of errors. */
  readonly throwOnError?: (error: ConvoyError, query: object) => boolean;
  /** Unchanged parts of a result are the same objects already. */
  readonly structuralSharing: false;
  /** The client knows by itself when it is offline. */
  readonly networkMode: 'always';
}

/** The options of a query that may be skipped. */
export interface SkippableQueryOptions<Ref extends ApiRef> extends LiveQueryOptions<Ref> {
  /** `false` where the query is skipped. */
  readonly enabled?: false;
}

/** The part of a query function's context that is used. */
interface QueryContext {
  readonly client: AnyQueryClient;
  readonly signal: AbortSignal;
  readonly queryKey: readonly unknown[];
}

/** Arguments of a query: left out where `{}` fits. */
export type QueryArgs<Ref> =
  Record<never, never> extends ArgsOfRef<Ref> ? [args?: ArgsOfRef<Ref>] : [args: ArgsOfRef<Ref>];

/** The live result of the query `ref` for `args`, for `useQuery`, `useSuspenseQuery`, `ensureQueryData` and others. */
export function queryOptions<Ref extends ApiRef>(
  ref: QueryArgument<Ref, OptionMakers>,
  ...args: QueryArgs<Ref>
): LiveQueryOptions<Ref>;
/**
 * A query that does not run while `args` is `skipToken` (this package's, or TanStack Query's) or `'skip'`; not for
 * `useSuspenseQuery`.
 */
export function queryOptions<Ref extends ApiRef>(
  ref: QueryArgument<Ref, OptionMakers>,
  args: ArgsOfRef<Ref> | symbol | 'skip',
): SkippableQueryOptions<Ref>;
export function queryOptions<Ref extends AnyQueryRef>(
  ref: Ref,
  args?: ArgsOfRef<Ref> | symbol | 'skip',
): SkippableQueryOptions<Ref> {
  const skipped = typeof args === 'symbol' || args === 'skip';
  // A copy, so that later mutations of `args` have no effect.
  const own = skipped ? 'skip' : (JSON.parse(canonicalArgs(args)) as ArgsOfRef<Ref>);
  const options: LiveQueryOptions<Ref> = {
    queryKey: [KEY, nameOfRef(ref), own] as unknown as LiveQueryOptions<Ref>['queryKey'],
    queryFn: ({ client, signal, queryKey }) => liveCacheOf(client).fetch({ ref, args: own, queryKey, signal }),
    staleTime: (query) => (isLive(query) ? Number.POSITIVE_INFINITY : 0),
    refetchOnMount: (query) => isLive(query) || 'always',
    retry: false,
    structuralSharing: false,
    networkMode: 'always',
  };
  return skipped ? { ...options, enabled: false } : options;
}

/** Options of `mutationOptions`. */
export type MutationOptionsOptions<Ref> = Omit<MutationOptions<Ref>, 'keepalive'>;

/** The argument of `mutate`: the mutation's arguments, left out where `{}` fits. */
export type MutationVariables<Ref> =
  // biome-ignore lint/suspicious/noConfusingVoidType: TanStack Query's type of a mutation without variables.
  Record<never, never> extends ArgsOfRef<Ref> ? ArgsOfRef<Ref> | void : ArgsOfRef<Ref>;

/** The options that `mutationOptions` returns. */
export interface ServerMutationOptions<Ref extends ApiRef> {
  /** `['convoy', name]`. */
  readonly mutationKey: readonly [string, string];
  /** Resolves when live queries show the mutation's changes. */
  readonly mutationFn: (
    variables: MutationVariables<Ref>,
    context: { readonly client: AnyQueryClient },
  ) => Promise<ResultOfRef<Ref>>;
  /** Never: the client repeats requests itself. */
  readonly retry: false;
  /** Not set; it tells TanStack Query the type of errors. */
  readonly throwOnError?: (error: ConvoyError) => boolean;
  /** The client keeps mutations that are called offline. */
  readonly networkMode: 'always';
}

/** The mutation `ref` for `useMutation`, with its optimistic update and other options. */
export function mutationOptions<Ref extends ApiRef>(
  ref: MutationArgument<Ref, OptionMakers>,
  options?: MutationOptionsOptions<Ref>,
): ServerMutationOptions<Ref>;
export function mutationOptions<Ref extends AnyMutationRef>(
  ref: Ref,
  options: MutationOptionsOptions<Ref> = {},
): ServerMutationOptions<Ref> {
  // So that it is there by the first call.
  if (options.optimistic !== undefined) void loadOptimistic();
  return {
    mutationKey: [KEY, nameOfRef(ref)],
    mutationFn: (variables, { client }) =>
      liveCacheOf(client).client.mutation(ref, ...([variables, options] as unknown as MutationArgs<Ref>)),
    retry: false,
    networkMode: 'always',
  };
}
