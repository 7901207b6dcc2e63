/** What a listener is told first, where its client holds an answer already and another client has written since. */
import type { QuerySnapshot } from '@avvos/convoy/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { api, serve } from './app.js';

let app: Awaited<ReturnType<typeof serve>>;
beforeAll(async () => {
  app = await serve();
});
afterAll(() => app.close());

const ROUNDS = 200;

/** How many of the rounds' listeners were first told of an answer without what another client had written before. */
async function outdated(): Promise<number> {
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
    const told = await first();
    if (told.data?.[0]?.body !== `${round}` && !told.isStale) count += 1;
  }
  stop();
  reader.close();
  writer.close();
  return count;
}

test('a new listener is not handed an answer older than a mutation this process was told of', async () => {
  expect(await outdated()).toBe(0);
});
