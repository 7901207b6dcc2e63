/** The embedded Postgres killed under an open watch: unavailable meanwhile, right afterwards. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startEmbeddedPostgres } from '../js/convoy/dist/cli/postgres/index.js';
import { api, serve } from './app.js';

const KILLS = process.env.CONVOY_TEST_LONG === '1' ? 20 : 2;

test('a killed Postgres comes back, and so does every live query', async () => {
  const dataRoot = await mkdtemp(join(tmpdir(), 'convoy-crash-'));
  const postgres = await startEmbeddedPostgres({ dataRoot });
  const app = await serve({ databaseUrl: postgres.url });
  const channelId = await app.client.mutation(api.channels.create, { name: 'general' });
  let seen: string[] = [];
  let wake = () => {};
  const stop = app.another().watch(api.messages.list, { channelId }, ({ data }) => {
    if (data !== null) seen = data.map((message) => message.body);
    wake();
  });
  const until = async (fits: () => boolean) => {
    while (!fits()) {
      await new Promise<void>((resolve) => {
        wake = resolve;
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
    // The backends outlive their postmaster by a moment, so the first calls may still get through.
    let restarted = false;
    for (let call = 0; !restarted; call++) {
      const outcome = await send(`around kill ${kill}, call ${call}`);
      restarted = outcome === 'sent' && postgres.pid !== killed && postgres.pid !== 0;
    }
    // Everything acknowledged is there once, and the watch ends at it.
    await until(() => acknowledged.every((body) => seen.includes(body)));
    expect(seen).toHaveLength(new Set(seen).size);
  }
  stop();
  await app.close();
  await postgres.stop();
  await rm(dataRoot, { recursive: true, force: true });
});
