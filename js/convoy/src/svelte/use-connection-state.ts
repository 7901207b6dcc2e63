/** `useConnectionState`: the combined connection state of all live queries of a client. */
import { createSubscriber } from 'svelte/reactivity';
import type { ComponentClientOptions } from '../client/component-query.js';
import type { QueryConnectionState } from '../client/transport.js';
import { useConvoy } from './context.js';

/** The result of `useConnectionState`. */
export interface ConnectionStateResult {
  /** `open` while every live query is, `closed` while there are none. */
  readonly current: QueryConnectionState;
}

/** The state of the connection as the reactive property `current`. */
export function useConnectionState(options: ComponentClientOptions = {}): ConnectionStateResult {
  const { connection } = useConvoy(options.client);
  const subscribe = createSubscriber((update) => connection.subscribe(update));
  return {
    get current() {
      subscribe();
      return connection.getSnapshot();
    },
  };
}
