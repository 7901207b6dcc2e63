/** A Convoy server on its own database: a small chat, its client, and a direct Postgres connection. */
import { randomUUID } from 'node:crypto';
import {
  type BaseContext,
  ConvoyError,
  createFunctionHelpers,
  type DataModelOf,
  defineRef,
  defineSchema,
  defineTable,
} from '@avvos/convoy';
import { createConvoyClient, makeMutationRef, makeQueryRef, type RefFor } from '@avvos/convoy/client';
import { type Convoy, type ConvoyOptions, createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { z } from 'zod';

export const schema = defineSchema({
  channels: defineTable({ name: z.string() }).index('by_name', ['name'], { unique: true }),
  messages: defineTable({
    channelId: defineRef('channels'),
    body: z.string().max(2_000),
    likes: z.number().default(0),
  }).index('by_channel', ['channelId']),
});

const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();

export const functions = {
  channels: {
    create: mutation({ input: { name: z.string() }, handler: (ctx, channel) => ctx.db.insert('channels', channel) }),
  },
  messages: {
    list: query({
      input: { channelId: defineRef('channels') },
      handler: (ctx, { channelId }) =>
        ctx.db
          .query('messages')
          .withIndex('by_channel', (q) => q.eq('channelId', channelId))
          .order('desc')
          .take(50),
    }),
    send: mutation({
      input: { channelId: defineRef('channels'), body: z.string() },
      handler: (ctx, message) => ctx.db.insert('messages', message),
    }),
    sendMany: mutation({
      input: { channelId: defineRef('channels'), bodies: z.array(z.string()) },
      handler: async (ctx, { channelId, bodies }) =>
        ctx.db.insertMany(
          'messages',
          bodies.map((body) => ({ channelId, body })),
        ),
    }),
    getMany: query({
      input: { ids: z.array(z.union([defineRef('messages'), defineRef('channels')])) },
      handler: (ctx, { ids }) => ctx.db.getMany(ids),
    }),
    like: mutation({
      input: { id: defineRef('messages') },
      handler: async (ctx, { id }) => {
        const message = await ctx.db.get(id);
        if (message === null) throw new ConvoyError('NOT_FOUND', 'This message is gone.', { details: { id } });
        return ctx.db.patch(id, { likes: message.likes + 1 });
      },
    }),
  },
  faults: {
    throws: mutation({
      handler: async (ctx) => {
        await ctx.db.insert('channels', { name: 'never' });
        throw new Error('postgres://root:hunter2@db/secret');
      },
    }),
    /** Ignores the rejection of an invalid write, or handles it. */
    refused: mutation({
      input: { handles: z.boolean() },
      handler: async (ctx, { handles }) => {
        const refused = ctx.db.insert('channels', { name: 5 } as never);
        if (handles) await refused.catch(() => null);
        return ctx.db.insert('channels', { name: 'kept' });
      },
    }),
    /** Inserts one by one, with or without a read in between. */
    many: mutation({
      input: { channelId: defineRef('channels'), before: z.number(), after: z.number(), reads: z.boolean() },
      handler: async (ctx, { channelId, before, after, reads }) => {
        for (let n = 0; n < before; n++) await ctx.db.insert('messages', { channelId, body: 'x' });
        if (reads) await ctx.db.query('messages').first();
        for (let n = 0; n < after; n++) await ctx.db.insert('messages', { channelId, body: 'x' });
      },
    }),
    unawaited: mutation({
      handler: (ctx) => {
        void ctx.db.insert('channels', { name: 'general' });
        void ctx.db.insert('channels', { name: 'general' });
      },
    }),
  },
};

export const api = {
  channels: {
    create: makeMutationRef('channels.create') as RefFor<'channels.create', typeof functions.channels.create>,
  },
  messages: {
    list: makeQueryRef('messages.list') as RefFor<'messages.list', typeof functions.messages.list>,
    send: makeMutationRef('messages.send') as RefFor<'messages.send', typeof functions.messages.send>,
    sendMany: makeMutationRef('messages.sendMany') as RefFor<'messages.sendMany', typeof functions.messages.sendMany>,
    getMany: makeQueryRef('messages.getMany') as RefFor<'messages.getMany', typeof functions.messages.getMany>,
    like: makeMutationRef('messages.like') as RefFor<'messages.like', typeof functions.messages.like>,
  },
  faults: {
    throws: makeMutationRef('faults.throws') as RefFor<'faults.throws', typeof functions.faults.throws>,
    many: makeMutationRef('faults.many') as RefFor<'faults.many', typeof functions.faults.many>,
    refused: makeMutationRef('faults.refused') as RefFor<'faults.refused', typeof functions.faults.refused>,
    unawaited: makeMutationRef('faults.unawaited') as RefFor<'faults.unawaited', typeof functions.faults.unawaited>,
  },
};

/** The URL of a database that does not exist yet, on the server the tests use. */
export function freshDatabaseUrl(): string {
  const server = process.env.CONVOY_TEST_DATABASE_URL;
  if (server === undefined) {
    throw new Error(
      'CONVOY_TEST_DATABASE_URL is not set; `npm test` starts a Postgres, or set it to a server whose role may create databases.',
    );
  }
  const url = new URL(server);
  url.pathname = `/convoy_test_${randomUUID().replaceAll('-', '')}`;
  return url.href;
}

/** Creates the database, loads the functions and serves; `close` ends everything. */
export async function serve(options: Partial<ConvoyOptions<typeof schema>> = {}) {
  const databaseUrl = options.databaseUrl ?? freshDatabaseUrl();
  const convoy: Convoy = await createConvoy({ schema, functions, databaseUrl, createDatabase: true, ...options });
  const { port } = await convoy.listen({ port: 0 });
  const baseUrl = `http://127.0.0.1:${port}`;
  const clients = [createConvoyClient({ baseUrl })];
  const psql = new pg.Client({ connectionString: databaseUrl });
  // A Postgres killed on purpose must not fail the test.
  psql.on('error', () => psql.removeAllListeners('end'));
  await psql.connect();
  return {
    convoy,
    baseUrl,
    databaseUrl,
    psql,
    client: clients[0] as (typeof clients)[0],
    /** Another client, closed with the rest. */
    another: (clientOptions: Parameters<typeof createConvoyClient>[0] = {}) => {
      const client = createConvoyClient({ baseUrl, ...clientOptions });
      clients.push(client);
      return client;
    },
    async close() {
      for (const client of clients) client.close();
      await psql.end();
      await convoy.close();
    },
  };
}

/** The major version of Postgres. */
export async function postgresVersion(psql: pg.Client): Promise<number> {
  const { rows } = await psql.query<{ server_version_num: string }>('show server_version_num');
  return Math.floor(Number(rows[0]?.server_version_num) / 10_000);
}

/** Posts JSON text as it is; returns the status and the body. */
export async function post(baseUrl: string, path: string, body: string) {
  const response = await fetch(`${baseUrl}/api/${path}`, { method: 'POST', body });
  const answer = (await response.json()) as { ok: boolean; data?: unknown; error?: { code: string; message: string } };
  return { status: response.status, answer };
}
