/**
 * `useQuery`: a query's live result as an object with reactive properties. The subscription is an effect, so it starts
 * when the component is mounted, follows the arguments, ends with the component, and does not exist during server
 * rendering.
 */
import { type Accessor, createEffect, createMemo, createSignal, on, onCleanup } from 'solid-js';
import {
  type ArgsOrSkip,
  ComponentQuery,
  type ComponentQueryOptions,
  type ComponentQueryState,
} from '../client/component-query.js';
import type { Hooks, QueryArgument } from '../protocol/ref-kinds.js';
import type { AnyQueryRef, ApiRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import { useConvoy } from './context.js';

/** A value, or a function that returns it and may read signals. */
export type MaybeAccessor<Value> = Value | Accessor<Value>;

/** The result of `useQuery`. Reading a property tracks it, so do not destructure the object. */
export type UseQueryResult<Data> = ComponentQueryState<Data> & {
  /** Requests the result again and resolves with it, or with `null` where there is none. Never rejects. */
  readonly refetch: () => Promise<Data | null>;
};

/** Arguments, or what skips the query, as a value or an accessor; optional where `{}` fits. */
export type UseQueryArgs<Ref> =
  Record<never, never> extends ArgsOfRef<Ref>
    ? [args?: MaybeAccessor<ArgsOrSkip<Ref>>, options?: MaybeAccessor<ComponentQueryOptions>]
    : [args: MaybeAccessor<ArgsOrSkip<Ref>>, options?: MaybeAccessor<ComponentQueryOptions>];

/** The live result of the query `ref` for `args`, which are compared by value. */
export function useQuery<Ref extends ApiRef>(
  ref: QueryArgument<Ref, Hooks>,
  ...args: UseQueryArgs<Ref>
): UseQueryResult<ResultOfRef<Ref>>;
export function useQuery<Ref extends AnyQueryRef>(
  ref: Ref,
  ...[args, options = {}]: UseQueryArgs<Ref>
): UseQueryResult<ResultOfRef<Ref>> {
  const component = new ComponentQuery(useConvoy(access(options).client), ref);
  const query = createMemo(() => component.select(access(args), access(options)));
  const [changes, changed] = createSignal(undefined, { equals: false });
  const state = createMemo(() => {
    changes();
    return component.display(query(), access(options));
  });
  createEffect(
    on(query, (query) => {
      onCleanup(component.subscribe(query, changed));
      // It may have changed since it was rendered.
      changed();
    }),
  );
  const part = <Key extends keyof ComponentQueryState<ResultOfRef<Ref>>>(key: Key) => ({
    get: createMemo(() => state()[key]),
    enumerable: true,
  });
  // Each property is a memo, so that only those that changed update what reads them.
  return Object.defineProperties(
    { refetch: () => query().refetch() },
    {
      status: part('status'),
      data: part('data'),
      error: part('error'),
      isLoading: part('isLoading'),
      isStale: part('isStale'),
      isReconnecting: part('isReconnecting'),
      connectionState: part('connectionState'),
    },
  ) as UseQueryResult<ResultOfRef<Ref>>;
}

function access<Value>(value: MaybeAccessor<Value>): Value {
  // Neither arguments nor options are functions.
  return typeof value === 'function' ? (value as Accessor<Value>)() : value;
}
