/**
 * A query as a component of any framework uses it: which live query its arguments select, and what it displays of that
 * one. The bindings add only the reactivity of their framework.
 */
import type { ActionArgument, Hooks, MutationArgument } from '../protocol/ref-kinds.js';
import type { AnyActionRef, AnyMutationRef, AnyQueryRef, ApiRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import type { CallingClient } from './calling-client.js';
import { canonicalArgs } from './canonical.js';
import type { CallArgs, ConvoyClient, MutationArgs, MutationOptions } from './client.js';
import type { LiveQuery } from './live-query.js';
import { loadOptimistic } from './load-optimistic.js';
import { isSkipped, SKIPPED, type SkipToken } from './skip.js';
import { type QuerySnapshot, revokesData } from './snapshot.js';

/** Options of `useQuery`. */
export interface ComponentQueryOptions {
  /** `false` does not run the query, like `skipToken`. */
  readonly enabled?: boolean;
  /** A client other than the provided one. Read once. */
  readonly client?: ConvoyClient | CallingClient;
  /** `false` calls the query once instead of keeping it current; `refetch` calls it again. */
  readonly subscribe?: boolean;
  /** Until new arguments have a result, keep returning the previous result, marked `isStale`. */
  readonly keepPrevious?: boolean;
}

/** Options of `useMutation`; each call may replace them, except the client. */
export interface ComponentMutationOptions<Ref> extends Omit<MutationOptions<Ref>, 'keepalive'> {
  /** A client other than the provided one. */
  readonly client?: ConvoyClient | CallingClient;
}

/** Options of `useAction` and `useConnectionState`. */
export interface ComponentClientOptions {
  /** A client other than the provided one. */
  readonly client?: ConvoyClient | CallingClient;
}

/** Calls the mutation. Rejects with a `ConvoyError`. */
export type MutationFunction<Ref> = (...args: MutationArgs<Ref>) => Promise<ResultOfRef<Ref>>;

/** Runs the action. Rejects with a `ConvoyError`. */
export type ActionFunction<Ref> = (...args: CallArgs<Ref>) => Promise<ResultOfRef<Ref>>;

/** Arguments of a query, or what skips it. */
export type ArgsOrSkip<Ref> = ArgsOfRef<Ref> | SkipToken | 'skip';

/** What a component displays of a query. `status` tells which form it has. */
export type ComponentQueryState<Data> = QuerySnapshot<Data> & {
  /** The query runs and has neither a result nor an error yet. */
  readonly isLoading: boolean;
};

/** The query of one component. */
export class ComponentQuery<Ref extends AnyQueryRef> {
  readonly #client: ConvoyClient;
  readonly #ref: Ref;
  #selected: { readonly key: string | null; readonly query: LiveQuery<ResultOfRef<Ref>> } | null = null;
  /** The last result displayed, for any arguments. */
  #previous: { readonly data: ResultOfRef<Ref> } | null = null;

  constructor(client: ConvoyClient, ref: Ref) {
    this.#client = client;
    this.#ref = ref;
  }

  /** The live query for these arguments, which are compared by value: the same object until they change. */
  select(args: ArgsOrSkip<Ref> | undefined, options: ComponentQueryOptions): LiveQuery<ResultOfRef<Ref>> {
    const text = isSkipped(args, options.enabled) ? null : canonicalArgs(args);
    const liveness = options.subscribe === false ? 'once' : 'live';
    const key = text === null ? null : `${liveness} ${text}`;
    if (this.#selected === null || this.#selected.key !== key) {
      // Parsed from the text, so that later mutations of `args` have no effect.
      const query =
        text === null ? SKIPPED : this.#client.liveQuery(this.#ref, JSON.parse(text) as ArgsOfRef<Ref>, { liveness });
      this.#selected = { key, query };
    }
    return this.#selected.query;
  }

  /** Calls `listener` after each change of the query, until the returned function is called. */
  subscribe(query: LiveQuery<ResultOfRef<Ref>>, listener: () => void): () => void {
    return query.subscribe(() => {
      // Also where the component does not read it.
      this.#remember(query.getSnapshot());
      listener();
    });
  }

  /** What the component displays of the selected query. */
  display(
    query: LiveQuery<ResultOfRef<Ref>>,
    { keepPrevious }: ComponentQueryOptions,
  ): ComponentQueryState<ResultOfRef<Ref>> {
    const snapshot = query.getSnapshot();
    this.#remember(snapshot);
    const isPending = snapshot.status === 'pending';
    if (keepPrevious !== true || !isPending || this.#previous === null) {
      return { ...snapshot, isLoading: isPending && query !== SKIPPED };
    }
    return { ...snapshot, status: 'success', data: this.#previous.data, isStale: true, isLoading: false };
  }

  #remember(snapshot: QuerySnapshot<ResultOfRef<Ref>>): void {
    if (snapshot.status === 'success') this.#previous = { data: snapshot.data };
    // A caller who may no longer see the result may not see it under other arguments either.
    else if (snapshot.status === 'error' && revokesData(snapshot.error)) this.#previous = null;
  }
}

/** The `useMutation` of a framework: a function that calls the mutation. */
export type UseMutation = <Ref extends ApiRef>(
  ref: MutationArgument<Ref, Hooks>,
  options?: ComponentMutationOptions<Ref>,
) => MutationFunction<Ref>;

/** The `useAction` of a framework: a function that runs the action. */
export type UseAction = <Ref extends ApiRef>(
  ref: ActionArgument<Ref, Hooks>,
  options?: ComponentClientOptions,
) => ActionFunction<Ref>;

/** The way in which a framework's components find their client. */
type ClientOf = (override?: ConvoyClient | CallingClient) => ConvoyClient;

export function mutationCaller(clientOf: ClientOf): UseMutation {
  // The kind of the reference is checked where the function is called.
  return (<Ref extends AnyMutationRef>(
    ref: Ref,
    { client: override, ...defaults }: ComponentMutationOptions<Ref> = {},
  ): MutationFunction<Ref> => {
    const client = clientOf(override);
    // So that it is there by the first call.
    if (defaults.optimistic !== undefined) void loadOptimistic();
    return (...[args, call]: MutationArgs<Ref>) =>
      client.mutation(ref, ...([args, { ...defaults, ...call }] as unknown as MutationArgs<Ref>));
  }) as UseMutation;
}

export function actionCaller(clientOf: ClientOf): UseAction {
  return (<Ref extends AnyActionRef>(ref: Ref, options: ComponentClientOptions = {}): ActionFunction<Ref> => {
    const client = clientOf(options.client);
    return (...args) => client.action(ref, ...args);
  }) as UseAction;
}
