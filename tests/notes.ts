/** References and a client for the notes that `programs/logs.mjs` serves. */
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';

export const list = makeQueryRef<Record<string, never>, string[]>('list');
export const add = makeMutationRef<{ text: string }, string>('add');

/** Watches the notes with a new client; `until` waits for a note with `text`. */
export function watchNotes(baseUrl: string) {
  const client = createConvoyClient({ baseUrl });
  let notes: readonly string[] = [];
  let onChange = () => {};
  client.watch(list, {}, ({ data }) => {
    if (data !== null) notes = data;
    onChange();
  });
  return {
    client,
    async until(text: string): Promise<void> {
      while (!notes.includes(text)) await new Promise<void>((resolve) => (onChange = resolve));
    },
  };
}
