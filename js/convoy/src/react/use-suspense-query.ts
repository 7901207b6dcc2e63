/**
 * `useSuspenseQuery`: a query's live result as data. Without a result the component suspends; a query that has none
 * because it failed throws its error to the nearest error boundary.
 */
import { useMemo, useSyncExternalStore } from 'react';
import type { CallingClient } from '../client/calling-client.js';
import { canonicalArgs } from '../client/canonical.js';
import type { ConvoyClient } from '../client/client.js';
import type { LiveQuery } from '../client/live-query.js';
import { unref } from '../client/unref.js';
import { nameOfRef } from '../protocol/name-of-ref.js';
import type { Hooks, QueryArgument } from '../protocol/ref-kinds.js';
import type { AnyQueryRef, ApiRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import { useConvoy } from './context.js';

/** Options of `useSuspenseQuery`. */
export interface UseSuspenseQueryOptions {
  /** A client other than the provider's. */
  readonly client?: ConvoyClient | CallingClient;
}

/** Arguments; optional where `{}` fits. */
export type UseSuspenseQueryArgs<Ref> =
  Record<never, never> extends ArgsOfRef<Ref>
    ? [args?: ArgsOfRef<Ref>, options?: UseSuspenseQueryOptions]
    : [args: ArgsOfRef<Ref>, options?: UseSuspenseQueryOptions];

/**
 * The live result of the query `ref` for `args`, which are compared by value. Suspends until there is one. Throws the
 * `ConvoyError` of a query that fails without an earlier result; with one, returns that.
 */
export function useSuspenseQuery<Ref extends ApiRef>(
  ref: QueryArgument<Ref, Hooks>,
  ...args: UseSuspenseQueryArgs<Ref>
): ResultOfRef<Ref>;
export function useSuspenseQuery<Ref extends AnyQueryRef>(
  ref: Ref,
  ...[args, options = {}]: UseSuspenseQueryArgs<Ref>
): ResultOfRef<Ref> {
  const client = useConvoy(options.client);
  const text = canonicalArgs(args);
  const query = useMemo(() => {
    // A server renders one result. It has no page that would stay connected.
    const liveness = typeof window === 'undefined' ? 'once' : 'live';
    return client.liveQuery(ref, JSON.parse(text) as ArgsOfRef<Ref>, { liveness });
  }, [client, ref, text]);
  const snapshot = useSyncExternalStore(query.subscribe, query.getSnapshot, query.getSnapshot);
  if (snapshot.status === 'pending') throw answerOf(query, client, `${nameOfRef(ref)} ${text}`);
  if (snapshot.status === 'error' && snapshot.data === null) throw snapshot.error;
  // Sound because a snapshot that is neither pending nor such an error has data.
  return snapshot.data as ResultOfRef<Ref>;
}

/** How long a query with a result waits for the component that suspended: until it is rendered again and mounted. */
const MOUNT_MS = 5_000;

/** The answers that suspended components wait for. */
const pendingAnswers = new WeakMap<ConvoyClient, Map<string, Promise<void>>>();

/**
 * Resolves when the query has a result or an error. Subscribes to it, because a component that has suspended is not
 * mounted and has no effects; the same promise for all components that wait for it.
 */
function answerOf(query: LiveQuery<unknown>, client: ConvoyClient, key: string): Promise<void> {
  const answers = pendingAnswers.get(client) ?? new Map<string, Promise<void>>();
  pendingAnswers.set(client, answers);
  const existing = answers.get(key);
  if (existing) return existing;
  const answer = new Promise<void>((resolve) => {
    const stop = query.subscribe(() => {
      const { status } = query.getSnapshot();
      if (status === 'pending' || answers.get(key) !== answer) return;
      answers.delete(key);
      resolve();
      // An error is not kept, so that a reset error boundary runs the query again.
      if (status === 'error') stop();
      else unref(setTimeout(stop, MOUNT_MS));
    });
  });
  answers.set(key, answer);
  return answer;
}
