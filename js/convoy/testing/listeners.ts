/**
 * Counts the listeners of a client's live queries. The client keeps a subscription for a second after the last of them,
 * so whether a component has ended its own cannot be seen at the transport.
 */
import type { ConvoyClient } from '../src/client/client.js';

export function listenersOf(client: ConvoyClient): { readonly count: number } {
  const listeners = { count: 0 };
  const { liveQuery } = client;
  client.liveQuery = ((...args: Parameters<typeof liveQuery>) => {
    const query = liveQuery.apply(client, args);
    const { subscribe } = query;
    query.subscribe = (listener) => {
      const stop = subscribe(listener);
      listeners.count += 1;
      let stopped = false;
      return () => {
        if (!stopped) listeners.count -= 1;
        stopped = true;
        stop();
      };
    };
    return query;
  }) as typeof liveQuery;
  return listeners;
}
