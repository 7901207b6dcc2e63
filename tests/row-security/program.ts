/** Tables for policies of Postgres, and functions that run any operation of `ctx.db` on them. */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import type { ConvoyRequest, RowLevelSecurity } from '@avvos/convoy/node';
import { z } from 'zod';
import { runStep, type Step } from '../access/program.js';

export const schema = defineSchema({
  members: defineTable({ team: z.string(), user: z.string() }).index('by_team', ['team', 'user']),
  /** Visible to owner and team, or to all if published: the policy reads another table. */
  notes: defineTable({
    owner: z.string(),
    team: z.string().nullable().default(null),
    published: z.boolean().default(false),
    rank: z.number(),
    slug: z.string(),
  })
    .index('by_rank', ['rank'])
    .index('by_slug', ['slug'], { unique: true }),
  /** Visible to the owner: the policy reads the row and a setting. */
  tasks: defineTable({ owner: z.string(), rank: z.number() }).index('by_rank', ['rank']),
  /** Nothing is granted. */
  secrets: defineTable({ text: z.string() }).index('by_text', ['text']),
});

/** The privileges and policies of `role`. */
export const POLICIES = (role: string) => `
  grant select, insert, update, delete on notes, tasks to ${role};
  grant select on members to ${role};
  alter table notes enable row level security;
  alter table tasks enable row level security;
  create policy visible on notes for select using (
    data->>'owner' = current_setting('app.user', true)
    or (data->>'published')::boolean
    or exists (
      select from members as m
      where m.data->>'team' = notes.data->>'team' and m.data->>'user' = current_setting('app.user', true)
    )
  );
  create policy added on notes for insert with check (data->>'owner' = current_setting('app.user', true));
  create policy changed on notes for update using (data->>'owner' = current_setting('app.user', true))
    with check (data->>'owner' = current_setting('app.user', true) and (data->>'rank')::numeric <= 100);
  create policy removed on notes for delete using (data->>'owner' = current_setting('app.user', true));
  create policy own on tasks using (data->>'owner' = current_setting('app.user', true));`;

export type Base = BaseContext<DataModelOf<typeof schema>>;
export type Context = Base & { readonly user: { readonly id: string } | null };

export const rlsOf = (role: string): RowLevelSecurity<Context> => ({
  role,
  settings: (ctx) => ({ 'app.user': ctx.user?.id }),
});

/** The user is named by the token; without one, the caller is anonymous. */
export function createContext(req: ConvoyRequest, base: Base): Context {
  const { authorization } = req.headers;
  return { ...base, user: typeof authorization === 'string' ? { id: authorization.slice('Bearer '.length) } : null };
}

const { query, mutation, action } = createFunctionHelpers<Context>();
const input = { step: z.custom<Step>() };
const steps = { steps: z.custom<readonly Step[]>() };

export const read = query({ input, handler: (ctx, { step }) => runStep(ctx.db, step) });
export const write = mutation({ input, handler: (ctx, { step }) => runStep(ctx.db, step) });

/** Runs steps one after the other; `do: 'rolledBack'` runs those in its `args` in a transaction that is rolled back. */
// biome-ignore lint/suspicious/noExplicitAny: steps name methods at run time only.
async function runSteps(db: any, list: readonly Step[]): Promise<unknown[]> {
  const results: unknown[] = [];
  for (const step of list) {
    if (step.do !== 'rolledBack') {
      results.push(await runStep(db, step));
      continue;
    }
    const undone = new Error('undone');
    const inner = async (tx: unknown): Promise<never> => {
      results.push(await runSteps(tx, step.args as readonly Step[]));
      throw undone;
    };
    await db.transaction(inner).catch((error: unknown) => {
      if (error !== undone) throw error;
    });
  }
  return results;
}

export const functions = {
  read,
  write,
  /** Each operation on its own, or in a transaction of its own. */
  act: action({ input, handler: (ctx, { step }) => runStep(ctx.db, step) }),
  writeAlone: mutation({ input, transaction: false, handler: (ctx, { step }) => runStep(ctx.db, step) }),
  inTransaction: action({ input, handler: (ctx, { step }) => ctx.db.transaction((tx) => runStep(tx, step)) }),
  readJoined: query({ input, handler: (ctx, args) => ctx.runQuery(read, args) }),
  writeJoined: mutation({ input, handler: (ctx, args) => ctx.runMutation(write, args) }),
  readFromAction: action({ input, handler: (ctx, args) => ctx.runQuery(read, args) }),
  writeFromAction: action({ input, handler: (ctx, args) => ctx.runMutation(write, args) }),
  /** Several operations in one call, each awaited. */
  readAll: query({ input: steps, handler: (ctx, args) => runSteps(ctx.db, args.steps) }),
  writeAll: mutation({ input: steps, handler: (ctx, args) => runSteps(ctx.db, args.steps) }),
  actAll: action({ input: steps, handler: (ctx, args) => ctx.db.transaction((tx) => runSteps(tx, args.steps)) }),
  /** All at once, in one batch. */
  readBatch: query({
    input: steps,
    handler: (ctx, args) => Promise.all(args.steps.map((step) => runStep(ctx.db, step))),
  }),
};
