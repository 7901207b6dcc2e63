/**
 * `@avvos/convoy/svelte`: functions for Svelte 5 components over a client.
 *
 * @packageDocumentation
 */
export type {
  ActionFunction,
  ArgsOrSkip,
  ComponentClientOptions as UseActionOptions,
  ComponentMutationOptions as UseMutationOptions,
  ComponentQueryOptions as UseQueryOptions,
  ComponentQueryState,
  MutationFunction,
  UseAction,
  UseMutation,
} from '../client/component-query.js';
export { type SkipToken, skipToken } from '../client/skip.js';
export type { QueryConnectionState } from '../client/transport.js';
export { provideConvoy, useConvoy } from './context.js';
export { useAction, useMutation } from './use-calls.js';
export { type ConnectionStateResult, useConnectionState } from './use-connection-state.js';
export { type MaybeGetter, type UseQueryArgs, type UseQueryResult, useQuery } from './use-query.js';
