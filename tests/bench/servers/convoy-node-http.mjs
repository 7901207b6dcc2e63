// The same program behind a server of node:http.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { open } from './convoy.mjs';

/** @param {string} databaseUrl */
export async function start(databaseUrl, options = {}) {
  const convoy = await open(databaseUrl, options);
  const server = createServer(convoy.nodeHandler()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async () => {
    await convoy.close();
    server.close();
  };
  return { port: server.address().port, stats: () => convoy.stats(), close };
}
