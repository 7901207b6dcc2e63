/** The page of `persisted.browser.test.ts`: a client whose mutations survive the page. */
import { type ConvoyClient, createConvoyClient, indexedDbStore, makeMutationRef } from '@avvos/convoy/client';

export interface PersistedPage {
  readonly client: ConvoyClient;
  readonly errors: string[];
  add(n: number): void;
  /** How many mutations the store has. */
  kept(): Promise<number>;
  signIn(scope: string | null): void;
}

const add = makeMutationRef<{ n: number }, number>('numbers.add');
const store = indexedDbStore('test');
const errors: string[] = [];
const scope = () => localStorage.getItem('scope');
const client = createConvoyClient({
  persist: { store, scope, onError: ({ code }, { args }) => errors.push(`${code} ${JSON.stringify(args)}`) },
});
const page: PersistedPage = {
  client,
  errors,
  add: (n) => void client.mutation(add, { n }).catch(({ code }) => errors.push(`${code} ${n}`)),
  kept: async () => (await store.keys('convoy.mutation')).length,
  signIn: (scope) => {
    if (scope === null) localStorage.removeItem('scope');
    else localStorage.setItem('scope', scope);
    client.refreshAuth();
  },
};
(window as unknown as { page: PersistedPage }).page = page;
