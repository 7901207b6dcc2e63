/**
 * Mutations in components: `useMutation` returns a function with a stable identity, `useMutationState` also the state
 * of the latest call, for forms.
 */
import { useCallback, useEffect, useInsertionEffect, useRef, useState } from 'react';
import type { CallingClient } from '../client/calling-client.js';
import type { ConvoyClient, MutationArgs, MutationOptions } from '../client/client.js';
import type { MutationFunction } from '../client/component-query.js';
import { loadOptimistic } from '../client/load-optimistic.js';
import type { Hooks, MutationArgument } from '../protocol/ref-kinds.js';
import type { AnyMutationRef, ApiRef } from '../protocol/refs.js';
import { type ConvoyError, errorFromPayload, isConvoyError } from '../values/errors.js';
import { useConvoy } from './context.js';

/** Options of `useMutation` and `useMutationState`. */
export interface UseMutationOptions<Ref = AnyMutationRef> extends Omit<MutationOptions<Ref>, 'keepalive'> {
  /** A client other than the provider's. */
  readonly client?: ConvoyClient | CallingClient;
}

/** The result of `useMutationState`: the function, and the state of its latest call. */
export interface UseMutationResult<Ref> {
  /** Like the function of `useMutation`; its failure is in `error` too, so that it need not be awaited. */
  readonly mutate: MutationFunction<Ref>;
  /** Why the latest call failed, until the next one starts or `reset`. */
  readonly error: ConvoyError | null;
  /** The latest call is in flight. */
  readonly isLoading: boolean;
  /** Clears the error, and ignores the result of a call in flight. */
  readonly reset: () => void;
}

/** A function that calls `ref`; the same object on every render. */
export function useMutation<Ref extends ApiRef>(
  ref: MutationArgument<Ref, Hooks>,
  options?: UseMutationOptions<Ref>,
): MutationFunction<Ref>;
export function useMutation<Ref extends AnyMutationRef>(
  ref: Ref,
  options: UseMutationOptions<Ref> = {},
): MutationFunction<Ref> {
  const { client: own, ...defaults } = options;
  const client = useConvoy(own);
  // The options of the latest render, so that the function stays the same object and an optimistic update sees the
  // current props.
  const latest = useRef(defaults);
  useInsertionEffect(() => {
    latest.current = defaults;
  });
  const isOptimistic = defaults.optimistic !== undefined;
  useEffect(() => {
    // So that it is there by the first call.
    if (isOptimistic) void loadOptimistic();
  }, [isOptimistic]);
  return useCallback(
    (...[args, call]: MutationArgs<Ref>) =>
      client.mutation(ref, ...([args, { ...latest.current, ...call }] as unknown as MutationArgs<Ref>)),
    [client, ref],
  );
}

interface CallState {
  /** The latest call; the results of earlier ones are ignored. */
  readonly call: symbol | null;
  readonly isLoading: boolean;
  readonly error: ConvoyError | null;
}

const IDLE: CallState = { call: null, isLoading: false, error: null };

/** `useMutation` with the state of the latest call. */
export function useMutationState<Ref extends ApiRef>(
  ref: MutationArgument<Ref, Hooks>,
  options?: UseMutationOptions<Ref>,
): UseMutationResult<Ref>;
export function useMutationState<Ref extends AnyMutationRef>(
  ref: Ref,
  options: UseMutationOptions<Ref> = {},
): UseMutationResult<Ref> {
  const call = useMutation(ref, options);
  const [{ isLoading, error }, setState] = useState(IDLE);
  const mutate = useCallback(
    (...args: MutationArgs<Ref>) => {
      const own = Symbol('call');
      const finish = (error: ConvoyError | null) =>
        setState((current) => (current.call === own ? { ...IDLE, error } : current));
      setState({ call: own, isLoading: true, error: null });
      const result = call(...args);
      // This handler only records the failure; a caller that awaits the returned promise still sees the rejection.
      result.then(
        () => finish(null),
        (thrown: unknown) => finish(isConvoyError(thrown) ? thrown : errorFromPayload(thrown)),
      );
      return result;
    },
    [call],
  );
  const reset = useCallback(() => setState(IDLE), []);
  return { mutate, error, isLoading, reset };
}
