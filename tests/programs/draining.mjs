/**
 * Writes in two halves with a pause between them. The pause ends when the test answers a request of the function, so the
 * test knows which calls are in flight, and decides when they go on.
 */
import { action, defineSchema, defineTable, mutation, query } from '@avvos/convoy';
import { z } from 'zod';

const half = () => defineTable({ n: z.number(), group: z.number() }).index('by_group', ['group']);
export const schema = defineSchema({ left: half(), right: half() });

const input = { n: z.number(), group: z.number(), gate: z.string().optional(), kind: z.string().optional() };
const never = () => new Promise(() => {});

const write = async (ctx, { n, group, gate, kind }) => {
  // With a statement of its own it runs in a transaction, otherwise optimistically.
  if (kind === 'raw') await ctx.db.raw({ text: 'select 1 as one', values: [] });
  await ctx.db.insert('left', { n, group });
  if (gate !== undefined) await fetch(`${gate}/${n}`, { method: 'POST' });
  if (kind === 'hangs') await never();
  await ctx.db.insert('right', { n, group });
  return n;
};

export const functions = {
  numbers: query({
    input: { group: z.number() },
    handler: async (ctx, { group }) => {
      const rows = await ctx.db
        .query('right')
        .withIndex('by_group', (q) => q.eq('group', group))
        .collect();
      return rows.map(({ n }) => n);
    },
  }),
  write: mutation({ input, handler: write }),
  // The mistakes of the controls: no transaction, and an answer before the write.
  writeApart: mutation({ input, transaction: false, handler: write }),
  answerFirst: action({
    input,
    handler: (ctx, { n, group }) => {
      setTimeout(() => ctx.runMutation(functions.write, { n, group }).catch(() => {}), 500);
      return n;
    },
  }),
};
