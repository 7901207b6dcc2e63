/** `useAction`: an action as a function whose identity is stable between renders. */
import { useCallback } from 'react';
import type { CallingClient } from '../client/calling-client.js';
import type { CallArgs, ConvoyClient } from '../client/client.js';
import type { ActionFunction } from '../client/component-query.js';
import type { ActionArgument, Hooks } from '../protocol/ref-kinds.js';
import type { AnyActionRef, ApiRef } from '../protocol/refs.js';
import { useConvoy } from './context.js';

/** Options of `useAction`. */
export interface UseActionOptions {
  /** A client other than the provider's. */
  readonly client?: ConvoyClient | CallingClient;
}

/** A function that runs `ref`; the same object on every render. */
export function useAction<Ref extends ApiRef>(
  ref: ActionArgument<Ref, Hooks>,
  options?: UseActionOptions,
): ActionFunction<Ref>;
export function useAction<Ref extends AnyActionRef>(ref: Ref, options: UseActionOptions = {}): ActionFunction<Ref> {
  const client = useConvoy(options.client);
  return useCallback((...args: CallArgs<Ref>) => client.action(ref, ...args), [client, ref]);
}
