/** A Convoy with notes, behind connections that can be cut, for programs that run the client in other runtimes. */
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';

const schema = defineSchema({ notes: defineTable({ text: z.string() }) });
const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();
const functions = {
  notes: {
    list: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).map(({ text }) => text) }),
    add: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
  },
};

/** What a program opened to receive live queries, in order. */
type Carrier = 'stream' | 'socket';

export async function serveNotes() {
  const convoy = await createConvoy({ schema, functions, databaseUrl: freshDatabaseUrl(), createDatabase: true });
  const { port } = await convoy.listen({ port: 0, host: '127.0.0.1' });
  const carriers: Carrier[] = [];
  const sockets = new Set<Socket>();
  const proxy = createServer((client) => {
    const server = connect(port, '127.0.0.1');
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    client.on('data', (bytes) => {
      const text = bytes.toString('latin1');
      if (text.startsWith('POST /api/live ')) carriers.push('stream');
      if (text.startsWith('GET /api/ws ')) carriers.push('socket');
    });
    client.pipe(server).pipe(client);
  });
  const control = createHttpServer((_request, response) => {
    for (const socket of sockets) socket.destroy();
    response.end();
  });
  const urlOf = async (server: Server) => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  return {
    baseUrl: await urlOf(proxy),
    cutUrl: await urlOf(control),
    carriers,
    async close() {
      proxy.close();
      control.close();
      control.closeAllConnections();
      for (const socket of sockets) socket.destroy();
      await convoy.close();
    },
  };
}
