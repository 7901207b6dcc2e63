/** The page of `tabs.browser.test.ts`: who is signed in and all texts, and a function that adds one. */
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';

export interface TabsPage {
  /** Resolves with the milliseconds until the response. */
  add(text: string): Promise<number>;
}

const list = makeQueryRef<Record<never, never>, { user: string; texts: string[] }>('texts.list');
const create = makeMutationRef<{ text: string }, null>('texts.create');

const url = new URL(location.href);
const client = createConvoyClient({
  auth: () => url.searchParams.get('user') ?? 'ann',
  ...(url.searchParams.has('headers') ? { headers: { 'x-app': 'tabs' } } : {}),
});

const shown = document.body.appendChild(document.createElement('p'));
client.watch(list, {}, ({ data, error }) => {
  shown.textContent = error ? `${error.code}: ${error.message}` : data ? `${data.user}: ${data.texts.join(' ')}` : '';
});

Object.assign(window, {
  page: {
    add: async (text) => {
      const calledAt = performance.now();
      await client.mutation(create, { text }, { await: 'committed' });
      return performance.now() - calledAt;
    },
  } satisfies TabsPage,
});
