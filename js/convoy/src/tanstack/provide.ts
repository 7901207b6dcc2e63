/** Which client the queries of a `QueryClient` use: the provided one, else one for the page's own origin. */
import type { QueryClient } from '@tanstack/query-core';
import { type CallingClient, completeClient } from '../client/calling-client.js';
import type { ConvoyClient } from '../client/client.js';
import { resolveClient } from '../client/default-client.js';
import { LiveCache } from './live-cache.js';

/**
 * The `QueryClient` of any adapter. Not the class of `@tanstack/query-core`, because adapters may have subclasses and
 * other copies of that package, whose types TypeScript takes for different ones.
 */
export interface AnyQueryClient {
  /** The cache of its queries. */
  getQueryCache(): object;
}

const caches = new WeakMap<AnyQueryClient, LiveCache>();

/**
 * Makes the queries and mutations of `queryClient` use `client`, in place of one for the page's origin. Call it where
 * you create the `QueryClient`.
 *
 * @param queryClient the `QueryClient` of TanStack Query
 * @param client not closed by this; that is up to its creator
 */
export function provideConvoy(queryClient: AnyQueryClient, client: ConvoyClient | CallingClient): void {
  caches.get(queryClient)?.stop();
  caches.set(queryClient, new LiveCache(queryClient as QueryClient, completeClient(client)));
}

export function liveCacheOf(queryClient: AnyQueryClient): LiveCache {
  const existing = caches.get(queryClient);
  if (existing) return existing;
  const cache = new LiveCache(queryClient as QueryClient, resolveClient(undefined, null));
  caches.set(queryClient, cache);
  return cache;
}
