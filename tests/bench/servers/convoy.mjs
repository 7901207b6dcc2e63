// The benchmark's functions as a Convoy program.
import { defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import { z } from 'zod';
import { channelInput, echoInput, messageInput, PAGE } from './inputs.mjs';

const schema = defineSchema({
  messages: defineTable({ channel: z.string(), author: z.string(), text: z.string() }).index('by_channel', ['channel']),
});

const say = query({ input: echoInput, handler: async (_ctx, args) => args });

const newest = query({
  input: channelInput,
  handler: async (ctx, { channel }) =>
    ctx.db
      .query('messages')
      .withIndex('by_channel', (q) => q.eq('channel', channel))
      .order('desc')
      .take(PAGE),
});

const send = mutation({
  input: messageInput,
  handler: async (ctx, message) => ctx.db.insert('messages', message),
});

/** @param {string} databaseUrl */
export async function start(databaseUrl) {
  const functions = { echo: { say }, messages: { newest, send } };
  const convoy = await createConvoy({ schema, functions, databaseUrl });
  const { port } = await convoy.listen({ port: 0 });
  return { port, stats: () => convoy.stats(), close: () => convoy.close() };
}
