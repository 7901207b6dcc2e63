/** `useConnectionState`: the combined connection state of all live queries of a client. */
import { type Accessor, createEffect, createSignal, onCleanup } from 'solid-js';
import type { ComponentClientOptions } from '../client/component-query.js';
import type { QueryConnectionState } from '../client/transport.js';
import { useConvoy } from './context.js';

/** `open` while every live query is, `closed` while there are none; `connecting` until the component is mounted. */
export function useConnectionState(options: ComponentClientOptions = {}): Accessor<QueryConnectionState> {
  const { connection } = useConvoy(options.client);
  const [state, setState] = createSignal<QueryConnectionState>('connecting');
  const update = () => setState(connection.getSnapshot());
  createEffect(() => {
    onCleanup(connection.subscribe(update));
    update();
  });
  return state;
}
