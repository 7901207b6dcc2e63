/**
 * `useQuery`: a query's live result as an object with reactive properties. The query is subscribed while an effect, such
 * as the template of a component, reads one of them; `createSubscriber` does nothing during server rendering.
 */
import { createSubscriber } from 'svelte/reactivity';
import {
  type ArgsOrSkip,
  ComponentQuery,
  type ComponentQueryOptions,
  type ComponentQueryState,
} from '../client/component-query.js';
import type { LiveQuery } from '../client/live-query.js';
import type { Hooks, QueryArgument } from '../protocol/ref-kinds.js';
import type { AnyQueryRef, ApiRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import { useConvoy } from './context.js';

/** A value, or a function that returns it and may read `$state` and props. */
export type MaybeGetter<Value> = Value | (() => Value);

/** The result of `useQuery`. Reading a property tracks it, so do not destructure the object. */
export type UseQueryResult<Data> = ComponentQueryState<Data> & {
  /** Requests the result again and resolves with it, or with `null` where there is none. Never rejects. */
  readonly refetch: () => Promise<Data | null>;
};

/** Arguments, or what skips the query, as a value or a getter; optional where `{}` fits. */
export type UseQueryArgs<Ref> =
  Record<never, never> extends ArgsOfRef<Ref>
    ? [args?: MaybeGetter<ArgsOrSkip<Ref>>, options?: MaybeGetter<ComponentQueryOptions>]
    : [args: MaybeGetter<ArgsOrSkip<Ref>>, options?: MaybeGetter<ComponentQueryOptions>];

/** The live result of the query `ref` for `args`, which are compared by value. */
export function useQuery<Ref extends ApiRef>(
  ref: QueryArgument<Ref, Hooks>,
  ...args: UseQueryArgs<Ref>
): UseQueryResult<ResultOfRef<Ref>>;
export function useQuery<Ref extends AnyQueryRef>(
  ref: Ref,
  ...[args, options = {}]: UseQueryArgs<Ref>
): UseQueryResult<ResultOfRef<Ref>> {
  type Data = ResultOfRef<Ref>;
  const component = new ComponentQuery(useConvoy(read(options).client), ref);
  let subscribed: { readonly query: LiveQuery<Data>; readonly subscribe: () => void } | null = null;
  const selected = () => component.select(read(args), read(options));
  const state = (): ComponentQueryState<Data> => {
    const query = selected();
    if (subscribed?.query !== query) {
      subscribed = { query, subscribe: createSubscriber((update) => component.subscribe(query, update)) };
    }
    subscribed.subscribe();
    return component.display(query, read(options));
  };
  return {
    get status() {
      return state().status;
    },
    get data() {
      return state().data;
    },
    get error() {
      return state().error;
    },
    get isLoading() {
      return state().isLoading;
    },
    get isStale() {
      return state().isStale;
    },
    get isReconnecting() {
      return state().isReconnecting;
    },
    get connectionState() {
      return state().connectionState;
    },
    refetch: () => selected().refetch(),
  } as UseQueryResult<Data>;
}

function read<Value>(value: MaybeGetter<Value>): Value {
  // Neither arguments nor options are functions.
  return typeof value === 'function' ? (value as () => Value)() : value;
}
