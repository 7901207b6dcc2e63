// The benchmark's functions as a Convoy program.
import { defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import { sql } from '@avvos/convoy/sql';
import { z } from 'zod';
import { uuidOf } from './documents.mjs';
import {
  channelInput,
  echoInput,
  editInput,
  idInput,
  idsInput,
  messageInput,
  messagesInput,
  PAGE,
  POOL,
  postInput,
  transferInput,
} from './inputs.mjs';

const schema = defineSchema({
  messages: defineTable({
    channel: z.string(),
    author: z.string(),
    text: z.string(),
    likes: z.number().default(0),
  }).index('by_channel', ['channel']),
  posts: defineTable({ channel: z.string(), body: z.string(), n: z.number() }).index('by_channel', ['channel']),
  accounts: defineTable({ owner: z.string(), balance: z.number().nonnegative() }),
});

/** Each call runs, so that runs are measured; `kept` has the same functions with the result cache. */
const RUN = { cache: false };

const say = query({ ...RUN, input: echoInput, handler: async (_ctx, args) => args });

const byId = { input: idInput, handler: async (ctx, { id }) => ctx.db.get(id) };
const newestInChannel = {
  input: channelInput,
  handler: async (ctx, { channel }) =>
    ctx.db
      .query('messages')
      .withIndex('by_channel', (q) => q.eq('channel', channel))
      .order('desc')
      .take(PAGE),
};

const get = query({ ...RUN, ...byId });

const getMany = query({ ...RUN, input: idsInput, handler: async (ctx, { ids }) => ctx.db.getMany(ids) });

const newest = query({ ...RUN, ...newestInChannel });

const kept = { get: query(byId), newest: query(newestInChannel) };

const getRaw = query({
  input: idInput,
  handler: async (ctx, { id }) => {
    const [row] = await ctx.db.raw(
      sql`
        select data, (extract(epoch from created_at) * 1000)::float8 as created
        from messages
        where id = ${uuidOf(id)}::uuid`,
      { tables: ['messages'] },
    );
    return row === undefined ? null : { ...row.data, id, _creationTime: row.created };
  },
});

const send = mutation({
  input: messageInput,
  handler: async (ctx, message) => ctx.db.insert('messages', message),
});

const sendMany = mutation({
  input: messagesInput,
  handler: async (ctx, { messages }) => ctx.db.insertMany('messages', messages),
});

const like = mutation({
  input: idInput,
  handler: async (ctx, { id }) => {
    const message = await ctx.db.get(id);
    return message && ctx.db.patch(id, { likes: message.likes + 1 });
  },
});

const transfer = mutation({
  input: transferInput,
  handler: async (ctx, { from, to, amount }) => {
    const [payer, payee] = await Promise.all([ctx.db.get(from), ctx.db.get(to)]);
    if (payer === null || payee === null || payer.balance < amount) return false;
    await Promise.all([
      ctx.db.patch(from, { balance: payer.balance - amount }),
      ctx.db.patch(to, { balance: payee.balance + amount }),
    ]);
    return true;
  },
});

const posts = {
  newest: query({ input: channelInput, handler: async (ctx, { channel }) => inChannel(ctx, channel).take(PAGE) }),

  all: query({ input: channelInput, handler: async (ctx, { channel }) => inChannel(ctx, channel).collect() }),

  latest: query({ handler: async (ctx) => ctx.db.query('posts').order('desc').take(PAGE) }),

  write: mutation({ input: postInput, handler: async (ctx, post) => ctx.db.insert('posts', post) }),

  edit: mutation({ input: editInput, handler: async (ctx, { id, body }) => ctx.db.patch(id, { body }) }),
};

/** The posts of a channel, newest first. */
function inChannel(ctx, channel) {
  return ctx.db
    .query('posts')
    .withIndex('by_channel', (q) => q.eq('channel', channel))
    .order('desc');
}

/**
 * @param {string} databaseUrl
 * @param {{ createContext?: Function }} [options]
 */
export async function start(databaseUrl, options = {}) {
  const convoy = await open(databaseUrl, options);
  const { port } = await convoy.listen({ port: 0 });
  return { port, stats: () => convoy.stats(), close: () => convoy.close() };
}

/** Opens Convoy without a listener. */
export function open(databaseUrl, options = {}) {
  const functions = {
    echo: { say },
    messages: { get, getMany, getRaw, newest, send, sendMany, like },
    kept,
    posts,
    bench: { transfer },
  };
  return createConvoy({ ...options, schema, functions, databaseUrl, poolSize: POOL });
}
