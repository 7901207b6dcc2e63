/**
 * `@avvos/convoy/next`: server components of Next.js that run queries for their client components. Needs Next.js 15 or
 * later.
 *
 * @packageDocumentation
 */
export { type Preloaded, preloadedQueryResult } from '../protocol/preloaded.js';
export { type PreloadingServer, type PreloadQueryOptions, preloadQuery } from './preload-query.js';
