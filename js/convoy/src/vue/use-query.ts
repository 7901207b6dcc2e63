/**
 * `useQuery`: a query's live result as refs. The subscription is a post-flush effect, so it starts when the component
 * is mounted, follows the arguments, ends with the component, and does not exist during server rendering.
 */
import {
  type ComputedRef,
  computed,
  type MaybeRefOrGetter,
  shallowRef,
  toValue,
  triggerRef,
  watchPostEffect,
} from 'vue';
import {
  type ArgsOrSkip,
  ComponentQuery,
  type ComponentQueryOptions,
  type ComponentQueryState,
} from '../client/component-query.js';
import type { Hooks, QueryArgument } from '../protocol/ref-kinds.js';
import type { AnyQueryRef, ApiRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import { useConvoy } from './context.js';

type State<Data> = ComponentQueryState<Data>;

/** The result of `useQuery`: a ref for each part, so that it can be destructured. */
export interface UseQueryResult<Data> {
  /** `pending`, `success` or `error`. */
  readonly status: ComputedRef<State<Data>['status']>;
  /** The result for these arguments, or the last one after a failure; `null` where there is none. */
  readonly data: ComputedRef<Data | null>;
  /** Why the query fails, until it succeeds. */
  readonly error: ComputedRef<State<Data>['error']>;
  /** The query runs and has neither a result nor an error yet. */
  readonly isLoading: ComputedRef<boolean>;
  /** There is data, but it may not be the current result for these arguments. */
  readonly isStale: ComputedRef<boolean>;
  /** The client is connecting again, or the server cannot reach its database for this query. */
  readonly isReconnecting: ComputedRef<boolean>;
  /** `disabled` where the query is skipped, or called only once. */
  readonly connectionState: ComputedRef<State<Data>['connectionState']>;
  /** Requests the result again and resolves with it, or with `null` where there is none. Never rejects. */
  readonly refetch: () => Promise<Data | null>;
}

/** Arguments, or what skips the query, as a value, a ref or a getter; optional where `{}` fits. */
export type UseQueryArgs<Ref> =
  Record<never, never> extends ArgsOfRef<Ref>
    ? [args?: MaybeRefOrGetter<ArgsOrSkip<Ref>>, options?: MaybeRefOrGetter<ComponentQueryOptions>]
    : [args: MaybeRefOrGetter<ArgsOrSkip<Ref>>, options?: MaybeRefOrGetter<ComponentQueryOptions>];

/** The live result of the query `ref` for `args`, which are compared by value. */
export function useQuery<Ref extends ApiRef>(
  ref: QueryArgument<Ref, Hooks>,
  ...args: UseQueryArgs<Ref>
): UseQueryResult<ResultOfRef<Ref>>;
export function useQuery<Ref extends AnyQueryRef>(
  ref: Ref,
  ...[args, options = {}]: UseQueryArgs<Ref>
): UseQueryResult<ResultOfRef<Ref>> {
  const component = new ComponentQuery(useConvoy(toValue(options).client), ref);
  const query = computed(() => component.select(toValue(args), toValue(options)));
  const changes = shallowRef(0);
  const changed = () => triggerRef(changes);
  const state = computed(() => {
    void changes.value;
    return component.display(query.value, toValue(options));
  });
  watchPostEffect((onCleanup) => {
    onCleanup(component.subscribe(query.value, changed));
    // It may have changed since it was rendered.
    changed();
  });
  return {
    status: computed(() => state.value.status),
    data: computed(() => state.value.data),
    error: computed(() => state.value.error),
    isLoading: computed(() => state.value.isLoading),
    isStale: computed(() => state.value.isStale),
    isReconnecting: computed(() => state.value.isReconnecting),
    connectionState: computed(() => state.value.connectionState),
    refetch: () => query.value.refetch(),
  };
}
