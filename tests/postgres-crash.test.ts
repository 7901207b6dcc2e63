/**
 * Postgres killed under an open watch: calls fail with UNAVAILABLE, and results are correct afterwards.
 */
import { expect, test } from 'vitest';
import { api, serve } from './app.js';
import { startOwnPostgres } from './own-postgres.js';

const KILLS = process.env.CONVOY_TEST_LONG === '1' ? 20 : 2;

test('a killed Postgres is restarted, and live queries recover', async () => {
  const postgres = await startOwnPostgres();
  const app = await serve({ databaseUrl: postgres.url });
  const channelId = await app.client.mutation(api.channels.create, { name: 'general' });
  let seen: string[] = [];
  let onChange = () => {};
  const stop = app.another().watch(api.messages.list, { channelId }, ({ data }) => {
    if (data !== null) seen = data.map((message) => message.body);
    onChange();
  });
  const until = async (condition: () => boolean) => {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        onChange = resolve;
      });
    }
  };

  const acknowledged: string[] = [];
  const send = async (body: string): Promise<'sent' | 'unavailable'> => {
    try {
      await app.client.mutation(api.messages.send, { channelId, body });
      acknowledged.push(body);
      return 'sent';
    } catch (error) {
      expect(error).toMatchObject({ code: 'UNAVAILABLE' });
      return 'unavailable';
    }
  };
  for (let kill = 1; kill <= KILLS; kill++) {
    await send(`before kill ${kill}`);
    const killed = postgres.pid;
    process.kill(killed, 'SIGKILL');
    // Backends outlive their postmaster for a short time, so the first calls may still succeed.
    let restarted = false;
    for (let call = 0; !restarted; call++) {
      const result = await send(`around kill ${kill}, call ${call}`);
      restarted = result === 'sent' && postgres.pid !== killed && postgres.pid !== 0;
    }
    // Each acknowledged message is stored once, and the watch shows them all.
    await until(() => acknowledged.every((body) => seen.includes(body)));
    expect(seen).toHaveLength(new Set(seen).size);
  }
  stop();
  await app.close();
  await postgres.stop();
});
