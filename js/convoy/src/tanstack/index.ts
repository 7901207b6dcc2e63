/**
 * `@avvos/convoy/tanstack`: queries and mutations for TanStack Query 5, whose cache is kept current.
 *
 * @packageDocumentation
 */
export { type SkipToken, skipToken } from '../client/skip.js';
export {
  type LiveQueryOptions,
  type MutationOptionsOptions,
  type MutationVariables,
  mutationOptions,
  type QueryArgs,
  queryOptions,
  type ServerMutationOptions,
  type SkippableQueryOptions,
} from './options.js';
export { type AnyQueryClient, provideConvoy } from './provide.js';
