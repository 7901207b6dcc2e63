import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, it } from 'vitest';
import { findPortOwner, listeningSockets } from '../../server/port-owner.js';
import { expectFreePort } from './serve.js';

it('finds the listening sockets of a port in the kernel table', () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:0BB8 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
   2: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0`;
  expect(listeningSockets(table, 3000)).toEqual(['4711']);
});

it('names the program on a taken port, with advice', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  expect(await findPortOwner(port)).toMatchObject({ pid: process.pid });
  await expect(expectFreePort({ host: '127.0.0.1', port })).rejects.toThrow(
    new RegExp(`Port ${port} is in use by .* \\(pid ${process.pid}\\)\\. .*--port`),
  );
  server.close();
  await once(server, 'close');
  await expectFreePort({ host: '127.0.0.1', port });
  expect(await findPortOwner(port)).toBeNull();
});
