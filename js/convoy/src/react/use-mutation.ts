/**
 * Mutations in components: `useMutation` is a function that stays the same object, `useMutationState` adds what a form
 * shows while it runs.
 */
import { useCallback, useState } from 'react';
import type { CallingClient } from '../client/calling-client.js';
import type { CallArgs, ConvoyClient } from '../client/client.js';
import type { AnyMutationRef, ResultOfRef } from '../protocol/refs.js';
import { type ConvoyError, errorFromPayload, isConvoyError } from '../values/errors.js';
import { useConvoy } from './context.js';

export interface UseMutationOptions {
  readonly client?: ConvoyClient | CallingClient;
}

/** Calls the mutation. Rejects with a `ConvoyError`. */
export type MutationFunction<Ref> = (...args: CallArgs<Ref>) => Promise<ResultOfRef<Ref>>;

export interface UseMutationResult<Ref> {
  /** Like the function of `useMutation`; its failure is in `error` too, so that it need not be awaited. */
  readonly mutate: MutationFunction<Ref>;
  /** Why the latest call failed, until the next one starts or `reset`. */
  readonly error: ConvoyError | null;
  /** A call is on its way. */
  readonly isLoading: boolean;
  /** Forgets the error, and any call on its way. */
  readonly reset: () => void;
}

/** A function that calls `ref`; the same one on every render. */
export function useMutation<Ref extends AnyMutationRef>(
  ref: Ref,
  options: UseMutationOptions = {},
): MutationFunction<Ref> {
  const client = useConvoy(options.client);
  return useCallback((...args: CallArgs<Ref>) => client.mutation(ref, ...args), [client, ref]);
}

interface Progress {
  /** The latest call; only its outcome counts. */
  readonly call: symbol | null;
  readonly isLoading: boolean;
  readonly error: ConvoyError | null;
}

const AT_REST: Progress = { call: null, isLoading: false, error: null };

/** `useMutation`, and how the latest call is doing. */
export function useMutationState<Ref extends AnyMutationRef>(
  ref: Ref,
  options: UseMutationOptions = {},
): UseMutationResult<Ref> {
  const call = useMutation(ref, options);
  const [{ isLoading, error }, setProgress] = useState(AT_REST);
  const mutate = useCallback(
    (...args: CallArgs<Ref>) => {
      const own = Symbol('call');
      const settle = (outcome: ConvoyError | null) =>
        setProgress((now) => (now.call === own ? { ...AT_REST, error: outcome } : now));
      setProgress({ call: own, isLoading: true, error: null });
      const answer = call(...args);
      // This branch of the promise ends in `error`; whoever awaits the other one still sees the rejection.
      answer.then(
        () => settle(null),
        (thrown: unknown) => settle(isConvoyError(thrown) ? thrown : errorFromPayload(thrown)),
      );
      return answer;
    },
    [call],
  );
  const reset = useCallback(() => setProgress(AT_REST), []);
  return { mutate, error, isLoading, reset };
}
