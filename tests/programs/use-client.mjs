/**
 * What a client does in any runtime: a query, a mutation, a live query, a lost connection, and the end. Prints a line
 * for each.
 */
import { createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';

const list = makeQueryRef('notes.list');
const add = makeMutationRef('notes.add');

/**
 * @param {string} baseUrl of Convoy
 * @param {string} cutUrl a request to it cuts all connections to `baseUrl`
 * @param {(line: string) => void} print
 * @param {import('@avvos/convoy/client').ConvoyClientOptions} [options]
 */
export async function useClient(baseUrl, cutUrl, print, options = {}) {
  const client = createConvoyClient({ baseUrl, ...options });
  print(`query ${JSON.stringify(await client.query(list, {}))}`);

  let latest = null;
  let onChange = () => {};
  client.watch(list, {}, (snapshot) => {
    latest = snapshot;
    onChange();
  });
  const until = async (matches) => {
    while (latest === null || !matches(latest)) {
      await new Promise((resolve) => {
        onChange = resolve;
      });
    }
  };
  const isCurrent = ({ status, isStale }) => status === 'success' && !isStale;

  await until(isCurrent);
  await client.mutation(add, { text: 'first' });
  print(`live ${JSON.stringify(latest.data)}`);

  await fetch(cutUrl, { method: 'POST' });
  await until(({ isReconnecting }) => isReconnecting);
  await until(isCurrent);
  await client.mutation(add, { text: 'second' });
  print(`reconnected ${JSON.stringify(latest.data)}`);

  client.close();
  print('closed');
}
