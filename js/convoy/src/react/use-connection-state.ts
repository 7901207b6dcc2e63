/** `useConnectionState`: how the live queries of a client are connected, all together. */
import { useSyncExternalStore } from 'react';
import type { ConvoyClient } from '../client/client.js';
import type { QueryConnectionState } from '../client/transport.js';
import { useConvoy } from './context.js';

/** `open` while every live query is, `closed` while none is wanted; a server renders `connecting`. */
export function useConnectionState(options: { readonly client?: ConvoyClient } = {}): QueryConnectionState {
  const { connection } = useConvoy(options.client);
  return useSyncExternalStore(connection.subscribe, connection.getSnapshot, getConnecting);
}

const getConnecting = (): QueryConnectionState => 'connecting';
