/** A program for workers, some of whose functions end or block their thread. */
import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { threadId } from 'node:worker_threads';
import {
  action,
  createFunctionHelpers,
  defineSchema,
  defineTable,
  internalQuery,
  mutation,
  query,
} from '@avvos/convoy';
import { z } from 'zod';

export const schema = defineSchema({ notes: defineTable({ text: z.string() }) });

const { authed } = createFunctionHelpers();

const never = () => new Promise(() => {});

const hoard = () => {
  for (const all = []; ; ) all.push(new Array(1_000).fill(all.length));
};

const unstartable = process.env.UNSTARTABLE_WHILE;
if (unstartable && existsSync(unstartable)) hoard();

const where = query({ handler: () => threadId });

export const functions = {
  where,
  signedIn: authed.query({ handler: ({ auth }) => [auth.user.id, auth.can('admin'), auth.can('owner')] }),
  whereSlowly: query({
    handler: async () => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return threadId;
    },
  }),
  list: query({ handler: async (ctx) => (await ctx.db.query('notes').collect()).map(({ text }) => text) }),
  add: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
  exit: query({ handler: () => process.exit(3) }),
  /** Ends its thread on the first run, after the write. */
  addOnRetry: mutation({
    input: { text: z.string(), marker: z.string(), reads: z.boolean() },
    handler: async (ctx, { text, marker, reads }) => {
      const id = await ctx.db.insert('notes', { text });
      if (reads) await ctx.db.query('notes').first();
      if (!existsSync(marker)) {
        writeFileSync(marker, '');
        process.exit(3);
      }
      return id;
    },
  }),
  /** Appends to a log that it has run, and ends its thread. */
  actAndExit: action({
    input: { log: z.string() },
    handler: async (_ctx, { log }) => {
      appendFileSync(log, 'ran\n');
      process.exit(3);
    },
  }),
  throwLater: query({
    handler: () => {
      setTimeout(() => {
        throw new Error('an uncaught error');
      });
      return never();
    },
  }),
  hoard: query({ handler: hoard }),
  loop: query({
    handler: () => {
      for (;;);
    },
  }),
  never: query({ handler: never }),
  me: internalQuery({ handler: (ctx) => [ctx.user?.name() ?? ctx.who ?? null, threadId] }),
  actFor: action({ handler: async (ctx) => [threadId, await ctx.runQuery({ name: 'me' })] }),
};

/** Returns a function, which cannot be sent from one thread to another. */
export const createContext = (req, base) => ({ ...base, user: { name: () => req.headers.authorization ?? null } });
