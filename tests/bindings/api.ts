/** What the pages of `bindings.browser.test.ts` call. */
import { makeMutationRef, makeQueryRef, type OptimisticStore } from '@avvos/convoy/client';

export interface Message {
  readonly id: string;
  readonly room: string;
  readonly body: string;
}

export const api = {
  messages: {
    list: makeQueryRef<{ room: string }, Message[]>('messages.list'),
    send: makeMutationRef<{ room: string; body: string }, string>('messages.send'),
  },
};

/** The optimistic update of `messages.send`. */
export const append = {
  optimistic: (store: OptimisticStore, { room, body }: { room: string; body: string }): void => {
    store.set(api.messages.list, { room }, (all) => [...all, { id: 'sending', room, body }]);
  },
};

export const ROOMS = ['hall', 'attic'];

/** Each page mounts its component in this element. */
export function root(): HTMLElement {
  return document.body.appendChild(document.createElement('main'));
}
