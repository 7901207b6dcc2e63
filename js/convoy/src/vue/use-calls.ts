/** `useMutation` and `useAction`: functions that call the server. */
import type {
  ActionFunction,
  ComponentClientOptions,
  ComponentMutationOptions,
  MutationFunction,
} from '../client/component-query.js';
import { actionFunction, mutationFunction } from '../client/component-query.js';
import type { AnyActionRef, AnyMutationRef } from '../protocol/refs.js';
import { useConvoy } from './context.js';

/** A function that calls the mutation `ref`. */
export function useMutation<Ref extends AnyMutationRef>(
  ref: Ref,
  options: ComponentMutationOptions<Ref> = {},
): MutationFunction<Ref> {
  return mutationFunction(useConvoy(options.client), ref, options);
}

/** A function that runs the action `ref`. */
export function useAction<Ref extends AnyActionRef>(
  ref: Ref,
  options: ComponentClientOptions = {},
): ActionFunction<Ref> {
  return actionFunction(useConvoy(options.client), ref);
}
