/**
 * `@avvos/convoy/vue`: composables for Vue 3 over a client.
 *
 * @packageDocumentation
 */
export type {
  ActionFunction,
  ArgsOrSkip,
  ComponentClientOptions as UseActionOptions,
  ComponentMutationOptions as UseMutationOptions,
  ComponentQueryOptions as UseQueryOptions,
  MutationFunction,
  UseAction,
  UseMutation,
} from '../client/component-query.js';
export { type SkipToken, skipToken } from '../client/skip.js';
export type { QueryConnectionState } from '../client/transport.js';
export { convoyPlugin, provideConvoy, useConvoy } from './context.js';
export { useAction, useMutation } from './use-calls.js';
export { useConnectionState } from './use-connection-state.js';
export { type UseQueryArgs, type UseQueryResult, useQuery } from './use-query.js';
