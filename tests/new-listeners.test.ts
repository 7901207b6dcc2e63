/** The first result of a new listener, where its client has a cached result and another client has written since. */
import type { QuerySnapshot } from '@avvos/convoy/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { api, serve } from './app.js';

let app: Awaited<ReturnType<typeof serve>>;
beforeAll(async () => {
  app = await serve();
});
afterAll(() => app.close());

const ROUNDS = 200;

/** Counts the rounds in which a listener's first result lacked the other client's preceding write. */
async function countOutdated(): Promise<number> {
  const [reader, writer] = [app.another(), app.another()];
  const channelId = await writer.mutation(api.channels.create, { name: `${Math.random()}` });
  const stop = reader.watch(api.messages.list, { channelId }, () => {});
  const first = (): Promise<QuerySnapshot<{ body: string }[]>> =>
    new Promise((resolve) => {
      const end = reader.watch(api.messages.list, { channelId }, (snapshot) => {
        if (snapshot.status !== 'success') return;
        resolve(snapshot);
        queueMicrotask(() => end());
      });
    });
  await first();
  let count = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    await writer.mutation(api.messages.send, { channelId, body: `${round}` });
    const snapshot = await first();
    if (snapshot.data?.[0]?.body !== `${round}` && !snapshot.isStale) count += 1;
  }
  stop();
  reader.close();
  writer.close();
  return count;
}

test('a new listener never receives a result older than a mutation acknowledged to this process', async () => {
  expect(await countOutdated()).toBe(0);
});
