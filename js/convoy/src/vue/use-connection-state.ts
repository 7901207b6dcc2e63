/** `useConnectionState`: the combined connection state of all live queries of a client. */
import { readonly, type ShallowRef, shallowRef, watchPostEffect } from 'vue';
import type { ComponentClientOptions } from '../client/component-query.js';
import type { QueryConnectionState } from '../client/transport.js';
import { useConvoy } from './context.js';

/** `open` while every live query is, `closed` while there are none; `connecting` until the component is mounted. */
export function useConnectionState(options: ComponentClientOptions = {}): Readonly<ShallowRef<QueryConnectionState>> {
  const { connection } = useConvoy(options.client);
  const state = shallowRef<QueryConnectionState>('connecting');
  const update = () => {
    state.value = connection.getSnapshot();
  };
  watchPostEffect((onCleanup) => {
    onCleanup(connection.subscribe(update));
    update();
  });
  return readonly(state);
}
