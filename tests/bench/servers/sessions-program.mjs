// The program of `sessions.mjs`. SESSIONS says how `createContext` finds the session of a call:
// `kept` with cachedReads; `asked` with a query for each call; `cookie` from a copy that is
// trusted for five minutes, as a cookie cache is, also if the session is deleted meanwhile.
import { createHash } from 'node:crypto';
import { cachedReads, createAuth, createFunctionHelpers, defineRef, defineSchema, defineTable } from '@avvos/convoy';
import { z } from 'zod';

const { authed, internalMutation } = createFunctionHelpers();
const COOKIE_CACHE_MS = 300_000;

export const schema = defineSchema({
  users: defineTable({ name: z.string() }),
  sessions: defineTable({ tokenHash: z.string(), userId: defineRef('users') }).index('by_token', ['tokenHash'], {
    unique: true,
  }),
  notes: defineTable({ text: z.string() }),
});

export const hashOf = (token) => createHash('sha256').update(token).digest('hex');

async function userOf(db, token) {
  const session = await db
    .query('sessions')
    .withIndex('by_token', (q) => q.eq('tokenHash', hashOf(token)))
    .unique();
  return session && db.get(session.userId);
}

const copies = new Map();
async function copiedUser(db, token) {
  const copy = copies.get(token);
  if (copy !== undefined && copy.until > Date.now()) return copy.user;
  const user = await userOf(db, token);
  if (user !== null) copies.set(token, { user, until: Date.now() + COOKIE_CACHE_MS });
  return user;
}

const find = {
  kept: (base, token) => userOf(cachedReads(base), token),
  asked: (base, token) => userOf(base.db, token),
  cookie: (base, token) => copiedUser(base.db, token),
}[process.env.SESSIONS];

export async function createContext({ headers }, base) {
  const user = headers.authorization === undefined ? null : await find(base, headers.authorization);
  return { ...base, auth: createAuth(user && { id: user.id, name: user.name }) };
}

export const functions = {
  me: authed.query({ handler: (ctx) => ctx.auth.user.name }),
  watched: authed.query({ handler: async (ctx) => (await ctx.db.query('notes').take(1)).length }),
  add: authed.mutation({ handler: (ctx) => ctx.db.insert('notes', { text: 'one more' }) }),
  end: internalMutation({
    input: { token: z.string() },
    handler: async (ctx, { token }) => {
      const session = await ctx.db
        .query('sessions')
        .withIndex('by_token', (q) => q.eq('tokenHash', hashOf(token)))
        .unique();
      await ctx.db.delete(session.id);
    },
  }),
};
