/** A subscription that waits before it is opened, such as for a store that is read. */
import type { Subscription } from './transport.js';

/** Opens a subscription when `waiting`, which never rejects, has resolved. */
export function deferredSubscription<T>(waiting: Promise<T>, open: (value: T) => Subscription): Subscription {
  let opened: Subscription | null = null;
  let closed = false;
  let refresh = () => {};
  void waiting.then((value) => {
    if (closed) return;
    opened = open(value);
    refresh();
  });
  return {
    refresh: (options) => {
      refresh = () => opened?.refresh(options);
      refresh();
    },
    isBehind: () => opened?.isBehind?.() ?? false,
    close: () => {
      closed = true;
      opened?.close();
    },
  };
}
