/** The page of `cached.browser.test.ts`: a client whose results survive the page. */
import { type ConvoyClient, createConvoyClient, indexedDbStore, makeQueryRef } from '@avvos/convoy/client';

export interface CachedPage {
  readonly client: ConvoyClient;
  /** The notes of every snapshot, with whether they were marked as outdated. */
  readonly seen: { readonly notes: readonly string[]; readonly isStale: boolean }[];
  signIn(user: string | null): void;
  /** All text in the store. */
  stored(): Promise<string>;
}

const mine = makeQueryRef<Record<never, never>, string[]>('notes.mine');
const store = indexedDbStore('test');
const user = () => localStorage.getItem('user');
const client = createConvoyClient({ auth: user, cache: { store, scope: user } });
const seen: CachedPage['seen'] = [];
const query = client.liveQuery(mine, {});
query.subscribe(() => {
  const { data, isStale } = query.getSnapshot();
  if (data !== null) seen.push({ notes: data, isStale });
});
const page: CachedPage = {
  client,
  seen,
  signIn: (user) => {
    if (user === null) localStorage.removeItem('user');
    else localStorage.setItem('user', user);
    client.refreshAuth();
  },
  stored: async () => {
    const texts = await Promise.all((await store.keys('')).map(async (key) => `${key} ${await store.get(key)}`));
    return texts.join('\n');
  },
};
(window as unknown as { page: CachedPage }).page = page;
