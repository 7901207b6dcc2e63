/** Functions with rate limits and limits of their own. `Authorization: <user>` is a user. */
import { createAuth, createFunctionHelpers, defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({ notes: defineTable({ body: z.string() }) });

const { action, mutation, query, route } = createFunctionHelpers();
/** Nothing is refilled while a test runs. */
const once = (per, tokens) => ({ per, tokens, refillPerSecond: 1 / 86_400 });
const list = (ctx) => ctx.db.query('notes').collect();

export const functions = {
  notes: {
    list: query({ handler: list }),
    watched: query({ rateLimit: once('identity', 2), handler: list }),
    refilled: query({ rateLimit: { per: 'identity', tokens: 1, refillPerSecond: 4 }, handler: list }),
    add: mutation({ input: { body: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
    addTwice: mutation({
      input: { body: z.string() },
      rateLimit: once('address', 2),
      handler: (ctx, note) => ctx.db.insert('notes', note),
    }),
    ping: action({ rateLimit: once('identity', 2), handler: async (ctx) => ctx.auth.user?.id ?? null }),
    pingAll: action({
      handler: async (ctx) => {
        for (let n = 0; n < 5; n++) await ctx.runAction(functions.notes.ping, {});
        return 'pong';
      },
    }),
  },
  limited: {
    slow: query({ timeoutMs: 100, handler: () => new Promise(() => {}) }),
    slowAction: action({ timeoutMs: 100, handler: () => new Promise(() => {}) }),
    large: query({ input: { size: z.number() }, resultBytes: 100, handler: (_, { size }) => 'x'.repeat(size - 2) }),
    read: query({ maxDocumentsRead: 2, handler: list }),
    write: mutation({
      input: { count: z.number() },
      maxDocumentsWritten: 2,
      handler: async (ctx, { count }) => {
        for (let n = 0; n < count; n++) await ctx.db.insert('notes', { body: 'written' });
      },
    }),
  },
};

export const routes = {
  page: route.get('/page', { rateLimit: once('address', 1) }, () => new Response('page')),
};

export function createContext(req, base) {
  const user = req.headers.authorization;
  return { ...base, auth: createAuth(user === undefined ? null : { id: user }) };
}
