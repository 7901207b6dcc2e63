/** Tables with access rules, and functions that run any operation of `ctx.db` on them. */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import type { ConvoyRequest } from '@avvos/convoy/node';
import { z } from 'zod';

interface RuleContext extends BaseContext<DataModelOf<{ readonly tables: typeof unruled }>> {
  readonly user: { readonly id: string } | null;
}

const members = defineTable({ team: z.string(), user: z.string() }).index('by_team', ['team', 'user'], {
  unique: true,
});
const unruled = { members };

async function isMember(ctx: RuleContext, team: string | null): Promise<boolean> {
  const { user } = ctx;
  if (team === null || user === null) return false;
  const found = await ctx.db
    .query('members')
    .withIndex('by_team', (q) => q.eq('team', team).eq('user', user.id))
    .first();
  return found !== null;
}

const isOwner = (ctx: RuleContext, doc: { readonly owner: string }): boolean =>
  ctx.user !== null && doc.owner === ctx.user.id;

const tableOfNotes = defineTable({
  owner: z.string(),
  team: z.string().nullable(),
  published: z.boolean().default(false),
  rank: z.number(),
  slug: z.string(),
  counts: z.object({ likes: z.number().optional() }).optional(),
})
  .index('by_owner', ['owner'])
  .index('by_rank', ['rank'])
  .index('by_slug', ['slug'], { unique: true });

export const schema = defineSchema({
  ...unruled,
  /** Visible to owner and team, or to all if published; a rule reads another table. */
  notes: tableOfNotes.access({
    read: (ctx: RuleContext, doc) => doc.published || isOwner(ctx, doc) || isMember(ctx, doc.team),
    insert: (ctx: RuleContext, doc) => isOwner(ctx, doc) && (doc.team === null || isMember(ctx, doc.team)),
    update: async (ctx: RuleContext, before, after) =>
      before.owner === after.owner &&
      after.rank <= 100 &&
      (after.counts?.likes ?? 0) <= 3 &&
      (isOwner(ctx, before) || (await isMember(ctx, before.team))),
    delete: isOwner,
  }),
  /** Visible to the owner, with a condition for statements. */
  tasks: defineTable({ owner: z.string(), rank: z.number() })
    .index('by_owner', ['owner'])
    .index('by_rank', ['rank'])
    .access({
      read: isOwner,
      range: (ctx: RuleContext, q) => (ctx.user === null ? q.or() : q.eq(q.field('owner'), ctx.user.id)),
      insert: isOwner,
      update: (ctx: RuleContext, before, after) => isOwner(ctx, before) && isOwner(ctx, after),
      delete: isOwner,
    }),
  /** All may read, and no rule allows a write. */
  posted: defineTable({ text: z.string() }).index('by_text', ['text']).access({ read: true }),
  /** All may write, and no rule allows to read. */
  inbox: defineTable({ text: z.string() })
    .index('by_text', ['text'])
    .access({ insert: true, update: true, delete: true }),
  open: defineTable({ text: z.string() }).index('by_text', ['text']),
});

export type Base = BaseContext<DataModelOf<typeof schema>>;
export type Context = Base & { readonly user: { readonly id: string } | null };

export interface Step {
  /** A method of `ctx.db`, with its arguments. */
  readonly do: string;
  readonly args: readonly unknown[];
  /** The steps of a query before `do`, each with its arguments. */
  readonly query?: readonly (readonly [method: string, ...args: readonly unknown[]])[];
  readonly system?: boolean;
}

// biome-ignore lint/suspicious/noExplicitAny: methods and arguments are known at run time only.
type AnyDatabase = any;

/** Runs a step; errors become a result, so that a mutation with a refused step is committed. */
export async function runStep(database: AnyDatabase, step: Step): Promise<unknown> {
  const db = step.system ? database.system : database;
  try {
    if (step.query === undefined) return { ok: (await db[step.do](...step.args)) ?? null };
    const [[, table] = [], ...rest] = step.query;
    const scan = rest.reduce(
      (at: AnyDatabase, [method, ...args]) => at[method](...args.map(asCallback)),
      db.query(table),
    );
    if (step.do !== 'iterate') return { ok: (await scan[step.do](...step.args)) ?? null };
    const found: unknown[] = [];
    for await (const document of scan) found.push(document);
    return { ok: found };
  } catch (error) {
    const { code, message, details } = error as { code?: string; message: string; details?: unknown };
    if (code === undefined || (details as { retry?: boolean } | undefined)?.retry === true) throw error;
    return { error: { code, message, details } };
  }
}

/** `{ eq: [field, value] }` as the callback of an index, `{ filter: [field, value] }` as that of a filter. */
function asCallback(value: unknown): unknown {
  const { eq, filter } = (value ?? {}) as { eq?: [string, unknown]; filter?: [string, unknown] };
  if (eq !== undefined) return (q: AnyDatabase) => q.eq(...eq);
  if (filter !== undefined) return (q: AnyDatabase) => q.eq(q.field(filter[0]), filter[1]);
  return value;
}

const { query, mutation, action } = createFunctionHelpers<Context>();
const input = { step: z.custom<Step>() };

export const read = query({ input, handler: (ctx, { step }) => runStep(ctx.db, step) });
export const write = mutation({ input, handler: (ctx, { step }) => runStep(ctx.db, step) });
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
};

/** The user is named by the token; without one, the caller is anonymous. */
export function createContext(req: ConvoyRequest, base: Base): Context {
  const { authorization } = req.headers;
  return { ...base, user: typeof authorization === 'string' ? { id: authorization.slice('Bearer '.length) } : null };
}
