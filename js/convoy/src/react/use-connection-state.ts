/** `useConnectionState`: the combined connection state of all live queries of a client. */
import { useSyncExternalStore } from 'react';
import type { ConvoyClient } from '../client/client.js';
import type { QueryConnectionState } from '../client/transport.js';
import { useConvoy } from './context.js';

/** `open` while every live query is, `closed` while there are none; a server renders `connecting`. */
export function useConnectionState(options: { readonly client?: ConvoyClient } = {}): QueryConnectionState {
  const { connection } = useConvoy(options.client);
  return useSyncExternalStore(connection.subscribe, connection.getSnapshot, getConnecting);
}

const getConnecting = (): QueryConnectionState => 'connecting';
