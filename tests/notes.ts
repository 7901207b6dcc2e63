/** The notes that `programs/logs.mjs` serves, as a client sees them. */
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';

export const list = makeQueryRef<Record<string, never>, string[]>('list');
export const add = makeMutationRef<{ text: string }, string>('add');

/** Watches the notes by a client of its own; `until` waits for one with this text. */
export function watchNotes(baseUrl: string) {
  const client = createConvoyClient({ baseUrl });
  let notes: readonly string[] = [];
  let wake = () => {};
  client.watch(list, {}, ({ data }) => {
    if (data !== null) notes = data;
    wake();
  });
  return {
    client,
    async until(text: string): Promise<void> {
      while (!notes.includes(text)) await new Promise<void>((resolve) => (wake = resolve));
    },
  };
}
