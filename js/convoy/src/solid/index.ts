/**
 * `@avvos/convoy/solid`: primitives for Solid over a client.
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
export { ConvoyProvider, type ConvoyProviderProps, useConvoy } from './context.js';
export { useAction, useMutation } from './use-calls.js';
export { useConnectionState } from './use-connection-state.js';
export { type MaybeAccessor, type UseQueryArgs, type UseQueryResult, useQuery } from './use-query.js';
