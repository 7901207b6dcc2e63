/** Reads the state of a client as plain values for display. Pure; the client is not changed. */
import type { ClientParts } from '../../client/inspection.js';
import type { LiveConnection } from '../../client/live-connection.js';
import type { LiveTransport } from '../../client/live-transport.js';
import type { OptimisticLayer, PendingCall } from '../../client/optimistic-layers.js';
import type { SubscribedQuery } from '../../client/session.js';
import type { SharedQuery } from '../../client/shared-query.js';
import type { QuerySnapshot } from '../../client/snapshot.js';
import type { Transport } from '../../client/transport.js';

/** A query with a subscription. */
export interface InspectedQuery {
  readonly key: string;
  readonly name: string;
  /** Canonical JSON. */
  readonly args: string;
  readonly liveness: 'live' | 'once';
  readonly snapshot: QuerySnapshot<unknown>;
  readonly listeners: number;
  /** The size of what is displayed, as JSON in characters; 0 without a result. */
  readonly size: number;
  /** Milliseconds since 1970; 0 before the first result. */
  readonly updatedAt: number;
  /** The hash by which servers name the result; empty where they have none. */
  readonly hash: string;
  /** Optimistic updates change what is displayed. */
  readonly isOptimistic: boolean;
  /** Why it is not displayed as current, or other than the server has sent it; null where neither is so. */
  readonly reason: string | null;
}

/** A mutation that has not ended, or whose optimistic update is still applied. */
export interface InspectedMutation {
  readonly name: string;
  readonly args: string;
  readonly isPending: boolean;
  /** The queries that its optimistic update changes; null where it has none. */
  readonly changes: readonly string[] | null;
}

export interface InspectedConnection {
  /** What carries the live queries; null for another transport. */
  readonly kind: string | null;
  readonly state: string;
  /** The phase of the connection within the state. */
  readonly phase: string;
  /** Attempts since the last connection that delivered. */
  readonly attempts: number;
  readonly position: string | null;
}

export interface Inspected {
  readonly queries: readonly InspectedQuery[];
  readonly mutations: readonly InspectedMutation[];
  readonly connection: InspectedConnection;
}

export function inspect({ transport, live, mutations }: ClientParts): Inspected {
  const connection = connectionOf(transport);
  const session = connection?.inspected;
  const subscribed = new Map(Array.from(session?.queries ?? [], (query) => [query.sink, query]));
  const layers = live.layers?.all ?? [];
  return {
    queries: Array.from(live.all, (query) => inspectQuery(query, subscribed.get(query), layers)),
    mutations: inspectMutations(new Set(mutations.pending), layers),
    connection: {
      kind: connection?.linkKind ?? null,
      state: live.connection.getSnapshot(),
      phase: session?.phase ?? '',
      attempts: session?.attempt ?? 0,
      position: session?.position ?? null,
    },
  };
}

/** The connection of the default transport; null for another one. */
export function connectionOf(transport: Transport): LiveConnection | null {
  return (transport as Partial<LiveTransport>).connection ?? null;
}

/** A query or a mutation with its arguments, as it is displayed. */
export function keyOf({ name, args }: PendingCall): string {
  return args === '{}' ? name : `${name} ${args}`;
}

function inspectQuery(
  query: SharedQuery,
  subscribed: SubscribedQuery | undefined,
  layers: readonly OptimisticLayer[],
): InspectedQuery {
  const { request, snapshot, listenerCount, updatedAt } = query;
  const { name, args, liveness } = request;
  const updates = layers.filter(({ changed }) => changed.has(query)).map(({ call }) => call?.name ?? 'a mutation');
  return {
    key: liveness === 'live' ? keyOf(request) : `${keyOf(request)} (once)`,
    name,
    args,
    liveness,
    snapshot,
    listeners: listenerCount,
    size: snapshot.data === null ? 0 : JSON.stringify(snapshot.data).length,
    updatedAt,
    hash: subscribed?.cached?.hash ?? '',
    isOptimistic: updates.length > 0,
    reason: reasonOf(query, subscribed, updates),
  };
}

function reasonOf(
  query: SharedQuery,
  subscribed: SubscribedQuery | undefined,
  updates: readonly string[],
): string | null {
  const { snapshot } = query;
  if (snapshot.error !== null) return `The query failed: ${snapshot.error.code}. ${snapshot.error.message}`;
  if (subscribed?.interrupted) return 'The server cannot reach its database for this query. It tries again by itself.';
  if (query.isFrozen) {
    return 'Results are withheld until the mutation of an optimistic update is answered, because the connection was lost.';
  }
  if (snapshot.connectionState === 'connecting' && snapshot.isStale) {
    return 'The connection was lost. This is the last result until the client is connected again.';
  }
  if (snapshot.connectionState === 'closed') {
    return 'There is no connection: the page was hidden for a minute, or the server has refused this client.';
  }
  if (updates.length > 0) return `Changed by the optimistic update of ${updates.join(' and ')}.`;
  if (snapshot.isStale) return 'The connection is back, and the server has not confirmed this result yet.';
  if (query.isBehind()) return 'A mutation was acknowledged whose changes have not arrived yet.';
  if (snapshot.status === 'pending') return 'The first result has not arrived yet.';
  return query.listenerCount === 0 ? 'No component uses it. Its subscription is about to end.' : null;
}

function inspectMutations(pending: ReadonlySet<PendingCall>, layers: readonly OptimisticLayer[]): InspectedMutation[] {
  const layerOf = new Map(layers.map((layer) => [layer.call, layer]));
  const changesOf = (layer: OptimisticLayer) => Array.from(layer.changed, ({ request }) => keyOf(request));
  const ended = layers.filter(({ call }) => call === undefined || !pending.has(call));
  return [
    ...ended.map((layer) => ({
      name: layer.call?.name ?? '',
      args: layer.call?.args ?? '',
      isPending: false,
      changes: changesOf(layer),
    })),
    ...Array.from(pending, (call) => {
      const layer = layerOf.get(call);
      return { name: call.name, args: call.args, isPending: true, changes: layer ? changesOf(layer) : null };
    }),
  ];
}
