/** The types from the schema to a handler's context, to the function's reference, to the client's result. */

import type { IncomingMessage } from 'node:http';
import { expectTypeOf } from 'vitest';
import * as z from 'zod';
import type { ArgsOfRef, RefFor, ResultOfRef } from '../protocol/refs.js';
import { type DataModelOf, defineRef, defineSchema, defineTable, type IndexesOf } from '../schema/index.js';
import { sql } from '../sql/index.js';
import type { Id } from '../values/ids.js';
import type { Auth, AuthUser } from './auth.js';
import { createBaseContext } from './base-context.js';
import type { BaseContext, ConvoyContext, CreateContext, QueryContext } from './contexts.js';
import { type Convoy, createConvoy } from './convoy.js';
import type { Database, DbFromSchema } from './database.js';
import { createFunctionHelpers, mutation as untypedMutation, query as untypedQuery } from './functions.js';

const schema = defineSchema({
  channels: defineTable({ name: z.string() }).index('by_name', ['name'], { unique: true }),
  messages: defineTable({
    channelId: defineRef('channels'),
    body: z.string(),
    likes: z.number().default(0),
    createdAt: z.number(),
    pinned: z.boolean().optional(),
  }).index('by_channel', ['channelId', 'createdAt']),
});

interface ServerContext {
  readonly db: DbFromSchema<typeof schema>;
}
const { query, mutation } = createFunctionHelpers<ServerContext & { user: string }>();

const list = query({
  input: { channelId: defineRef('channels') },
  handler: async (ctx, { channelId }) => {
    expectTypeOf(channelId).toEqualTypeOf<Id<'channels'>>();
    expectTypeOf(ctx.user).toEqualTypeOf<string>();
    return ctx.db
      .query('messages')
      .withIndex('by_channel', (q) => q.eq('channelId', channelId).gt('createdAt', 0))
      .order('desc')
      .take(50);
  },
});

const send = mutation({
  args: z.object({ channelId: defineRef('channels'), body: z.string().min(1) }),
  handler: async (ctx, { channelId, body }) => {
    const id = await ctx.db.insert('messages', { channelId, body, createdAt: Date.now() });
    expectTypeOf(id).toEqualTypeOf<Id<'messages'>>();
    const patched = await ctx.db.patch(id, { likes: 1, pinned: undefined });
    expectTypeOf(patched?.likes).toEqualTypeOf<number | undefined>();
    await ctx.db.patch('messages', id, { body: 'new' });
    expectTypeOf(await ctx.db.delete(id)).toEqualTypeOf<boolean>();
    const message = await ctx.db.get('messages', id);
    return message;
  },
});

const touch = mutation({ handler: () => {} });

const stats = query({
  share: false,
  input: { day: z.iso.date().optional() },
  returns: z.object({
    at: z.codec(z.date(), z.iso.datetime(), { decode: (d) => d.toISOString(), encode: (s) => new Date(s) }),
  }),
  handler: async () => ({ at: new Date() }),
});

// References: arguments are the `z.input`, results have the type after JSON.
type List = RefFor<'messages.list', typeof list>;
expectTypeOf<List['kind']>().toEqualTypeOf<'query'>();
expectTypeOf<List['name']>().toEqualTypeOf<'messages.list'>();
expectTypeOf<ArgsOfRef<List>>().toEqualTypeOf<{ channelId: `channels:${string}` }>();
expectTypeOf<ResultOfRef<List>[number]>().toEqualTypeOf<{
  readonly id: Id<'messages'>;
  readonly _creationTime: number;
  channelId: Id<'channels'>;
  body: string;
  likes: number;
  createdAt: number;
  pinned?: boolean;
}>();

type Send = RefFor<'messages.send', typeof send>;
expectTypeOf<Send['kind']>().toEqualTypeOf<'mutation'>();
expectTypeOf<ArgsOfRef<Send>>().toEqualTypeOf<{ channelId: `channels:${string}`; body: string }>();
expectTypeOf<ResultOfRef<Send>>().extract<null>().toEqualTypeOf<null>();

type Touch = RefFor<'touch', typeof touch>;
expectTypeOf<ResultOfRef<Touch>>().toEqualTypeOf<null>();
expectTypeOf<Record<string, never>>().toExtend<ArgsOfRef<Touch>>();

type Stats = RefFor<'stats', typeof stats>;
expectTypeOf<ArgsOfRef<Stats>>().toEqualTypeOf<{ day?: string | undefined }>();
expectTypeOf<ResultOfRef<Stats>>().toEqualTypeOf<{ at: string }>();

// The type of a result after JSON.
const odd = query({
  handler: () => ({
    when: new Date(),
    nothing: undefined,
    maybe: 1 as number | undefined,
    anything: null as unknown,
    list: [new Date()] as const,
    call: () => 1,
  }),
});
expectTypeOf<ResultOfRef<RefFor<'odd', typeof odd>>>().toEqualTypeOf<{
  when: string;
  maybe?: number;
  anything?: unknown;
  list: readonly [string];
}>();

// Calls that do not compile.
query({
  handler: async (ctx) => {
    // @ts-expect-error a query cannot write
    await ctx.db.insert('channels', { name: 'general' });
    // @ts-expect-error nor without access rules
    ctx.db.system.insert('channels', { name: 'x' });
    expectTypeOf(await ctx.db.system.query('channels').count()).toEqualTypeOf<number>();
    // @ts-expect-error nor patch
    ctx.db.patch('channels:1' as Id<'channels'>, { name: 'general' });
    // @ts-expect-error nor delete
    ctx.db.delete('channels:1' as Id<'channels'>);
    // @ts-expect-error no such table
    ctx.db.query('mesages');
    // @ts-expect-error no such index
    ctx.db.query('messages').withIndex('by_author');
    // @ts-expect-error not a field of the index
    ctx.db.query('messages').withIndex('by_channel', (q) => q.eq('body', 'x'));
    // @ts-expect-error a value of another type
    ctx.db.query('messages').withIndex('by_channel', (q) => q.eq('createdAt', 'yesterday'));
    // @ts-expect-error an id of another table
    ctx.db.query('messages').withIndex('by_channel', (q) => q.eq('channelId', 'messages:1' as Id<'messages'>));
    // @ts-expect-error an id of another table
    ctx.db.get('messages', 'channels:1' as Id<'channels'>);
  },
});
mutation({
  handler: async (ctx) => {
    // @ts-expect-error a field is missing
    ctx.db.insert('messages', { body: 'hello' });
    // @ts-expect-error no such field
    ctx.db.patch('channels:1' as Id<'channels'>, { nmae: 'general' });
    // @ts-expect-error a value of another type
    ctx.db.patch('channels:1' as Id<'channels'>, { name: 7 });
    // @ts-expect-error no number
    ctx.db.increment('channels:1' as Id<'channels'>, 'name', 1);
  },
});
untypedMutation({
  handler: async ({ db }) => {
    await db.increment('anything', 'anything:1' as Id<'anything'>, 'a.b', 1);
    await db.replace('anything:1' as Id<'anything'>, { x: 1 });
    await db.transaction((tx) => tx.insert('anything', { y: 2 }));
  },
});
// @ts-expect-error the result does not fit `returns`
query({ returns: z.object({ count: z.number() }), handler: () => ({ count: 'many' }) });

query({ returns: z.object({ kind: z.enum(['a', 'b']) }), handler: async () => ({ kind: 'a' as const }) });

// A helper typed for the full context accepts a query's context too.
declare function nameOf(ctx: ServerContext, id: Id<'channels'>): Promise<string>;
query({
  input: { id: defineRef('channels') },
  handler: (ctx, { id }) => nameOf(ctx, id),
});

// Builder steps keep the type, and a block body works as a range.
query({
  handler: async (ctx) => {
    let q = ctx.db.query('messages');
    q = q.limit(3);
    q = q.withIndex('by_channel', (range) => {
      range.eq('channelId', 'channels:1' as Id<'channels'>);
    });
    expectTypeOf(await q.first()).toExtend<{ body: string } | null>();
  },
});

// Filters, orders and pages are typed by the fields they name.
query({
  handler: async (ctx) => {
    const q = ctx.db
      .query('messages')
      .filter((f) =>
        f.and(f.eq(f.field('channelId'), 'channels:1' as Id<'channels'>), f.not(f.gt(f.field('likes'), 3))),
      )
      .filter((f) => f.or(f.in(f.field('body'), ['a', null]), f.neq(f.field('pinned'), null)))
      .filter((f) => f.lt(f.field('_creationTime'), 5))
      .order('desc', 'createdAt')
      .offset(2);
    expectTypeOf(await q.unique()).toExtend<{ body: string } | null>();
    expectTypeOf(await q.count()).toEqualTypeOf<number>();
    const { page, isDone, continueCursor } = await q.paginate({ cursor: null, numItems: 10 });
    expectTypeOf(page[0]?.likes).toEqualTypeOf<number | undefined>();
    expectTypeOf(isDone).toEqualTypeOf<boolean>();
    await q.paginate({ cursor: continueCursor, numItems: 10, endCursor: undefined });
    for await (const message of q) expectTypeOf(message.body).toEqualTypeOf<string>();
    // @ts-expect-error a JavaScript comparison
    q.filter((f) => f.field('likes') === 3);
    // @ts-expect-error no such field
    q.filter((f) => f.eq(f.field('author'), 'x'));
    // @ts-expect-error a value of another type
    q.filter((f) => f.eq(f.field('likes'), 'many'));
    // @ts-expect-error an id of another table
    q.filter((f) => f.eq(f.field('channelId'), 'messages:1' as Id<'messages'>));
    // @ts-expect-error `null` cannot be compared with greater or less
    q.filter((f) => f.gt(f.field('likes'), null));
    // @ts-expect-error two fields
    q.filter((f) => f.eq(f.field('likes'), f.field('createdAt')));
    // @ts-expect-error the value comes second
    q.filter((f) => f.eq(3, f.field('likes')));
    // @ts-expect-error no such field
    q.order('asc', 'author');
    // @ts-expect-error a page needs a size
    q.paginate({ cursor: null });
  },
});

// Whole documents, numbers, statements and transactions.
const nested = defineSchema({
  carts: defineTable({
    title: z.string(),
    total: z.number().default(0),
    count: z.number().optional(),
    stats: z.object({ views: z.number(), deep: z.object({ n: z.number().nullable() }) }),
  }),
});
const onNested = createFunctionHelpers<BaseContext<DataModelOf<typeof nested>>>();
onNested.mutation({
  input: { id: defineRef('carts') },
  handler: async ({ db }, { id }) => {
    const cart = await db.get(id);
    if (cart === null) return;
    expectTypeOf(await db.replace(id, { ...cart, title: 'x' })).toEqualTypeOf<typeof cart | null>();
    await db.replace('carts', id, { title: 'x', stats: { views: 1, deep: { n: null } } });
    expectTypeOf(await db.increment(id, 'total', 1)).toEqualTypeOf<typeof cart | null>();
    await db.increment('carts', id, 'count', -1);
    await db.increment(id, 'stats.views', 1);
    await db.increment(id, 'stats.deep.n', 0.5);
    expectTypeOf(await db.deleteMany('carts', [id])).toEqualTypeOf<number>();
    expectTypeOf(await db.insertMany('carts', [])).toEqualTypeOf<Id<'carts'>[]>();
    expectTypeOf(await db.raw<{ n: string }>(sql`select 1 as n`)).toEqualTypeOf<{ n: string }[]>();
    await db.raw({ text: 'select $1', values: [1] }, { tables: ['carts'] });
    await db.raw({ queryChunks: [] });
    expectTypeOf(
      await db.transaction(async (tx) => {
        await tx.patch(id, { title: 'y' });
        return tx.transaction((inner) => inner.delete(id));
      }),
    ).toEqualTypeOf<boolean>();
    await db
      .query('carts')
      .filter((q) => q.gte(q.field('stats.deep.n'), 1))
      .order('asc', 'stats.views')
      .first();
    // @ts-expect-error no number
    db.increment(id, 'title', 1);
    // @ts-expect-error nor is this
    db.increment(id, 'stats', 1);
    // @ts-expect-error the creation time cannot be incremented
    db.increment(id, '_creationTime', 1);
    // @ts-expect-error the amount must be a number
    db.increment(id, 'total', '1');
    // @ts-expect-error a field is missing
    db.replace(id, { title: 'x' });
    // @ts-expect-error ids of one table
    db.deleteMany('carts', ['users:1' as Id<'users'>]);
    // @ts-expect-error never a bare string
    db.raw('select 1');
  },
});
onNested.query({
  handler: async ({ db }) => {
    await db.raw(sql`select 1`);
    const count = await db.transaction((tx) => tx.query('carts').count());
    expectTypeOf(count).toEqualTypeOf<number>();
    // @ts-expect-error a query cannot write in a transaction either
    db.transaction((tx) => tx.delete('carts:1' as Id<'carts'>));
    // @ts-expect-error nor this
    db.replace('carts:1' as Id<'carts'>, { title: 'x', stats: { views: 1, deep: { n: 1 } } });
    // @ts-expect-error nor this
    db.increment('carts:1' as Id<'carts'>, 'total', 1);
    // @ts-expect-error nor these
    db.insertMany('carts', []);
    // @ts-expect-error nor these
    db.deleteMany('carts', []);
  },
});

// Without generated types: any table, any field.
untypedQuery({
  input: { id: z.string() },
  handler: async (ctx, { id }) => {
    const rows = await ctx.db
      .query('anything')
      .withIndex('by_x', (q) => q.eq('x', 1))
      .collect();
    const row = await ctx.db.get('anything', id as Id<'anything'>);
    await ctx.db
      .query('anything')
      .filter((q) => q.and(q.eq(q.field('a.b'), 1), q.gt(q.field('c'), 'x'), q.in(q.field('d'), [true, null])))
      .order('desc', 'x')
      .paginate({ cursor: null, numItems: 5 });
    return [rows[0]?.title, row?.name, row?.id];
  },
});

// createContext: `req` may be annotated as Node's.
const createContext = async (req: IncomingMessage, base: ServerContext) => ({
  ...base,
  user: req.headers.cookie ?? '',
});
expectTypeOf(createContext).toExtend<CreateContext>();
expectTypeOf(createContext).toExtend<CreateContext<ServerContext>>();
expectTypeOf<BaseContext>().toExtend<{ readonly db: object }>();
const expiring = (expiresAt: number | null) => (_req: IncomingMessage, base: ServerContext) => ({ ...base, expiresAt });
expectTypeOf(expiring(0)).toExtend<CreateContext>();
const wronglyExpiring = (_req: IncomingMessage, base: ServerContext) => ({ ...base, expiresAt: new Date() });
expectTypeOf(wronglyExpiring).not.toExtend<CreateContext>();
class OwnContext {}
expectTypeOf((_req: IncomingMessage) => new OwnContext()).toExtend<CreateContext>();

// Generated code declares the model as interfaces, with the same database type.
interface MessagesDocument {
  readonly id: Id<'messages'>;
  readonly _creationTime: number;
  body: string;
}
interface GeneratedModel {
  messages: {
    document: MessagesDocument;
    input: { body: string };
    indexes: IndexesOf<(typeof schema)['tables']['messages']>;
  };
}
const generated = createFunctionHelpers<BaseContext<GeneratedModel>>();
const newest = generated.query({
  handler: (ctx) =>
    ctx.db
      .query('messages')
      .withIndex('by_channel', (q) => q.eq('createdAt', 1 as never))
      .first(),
});
expectTypeOf<ResultOfRef<RefFor<'newest', typeof newest>>>().toEqualTypeOf<{
  readonly id: Id<'messages'>;
  readonly _creationTime: number;
  body: string;
} | null>();

// In-process calls take references and return the same types as a client.
declare const convoy: Convoy;
declare const api: { readonly messages: { readonly list: List; readonly send: Send } };
expectTypeOf(convoy.query(api.messages.list, { channelId: 'channels:1' })).resolves.toEqualTypeOf<ResultOfRef<List>>();
// @ts-expect-error a mutation is no query
convoy.query(api.messages.send, { channelId: 'channels:1', body: 'x' });
// @ts-expect-error an argument is missing
convoy.mutation(api.messages.send, { channelId: 'channels:1' });
createConvoy({
  schema,
  functions: { messages: { list, send } },
  databaseUrl: 'postgres://localhost/app',
  createContext: (req, base) => {
    expectTypeOf(base.db.insert('channels', { name: 'x' })).resolves.toEqualTypeOf<Id<'channels'>>();
    return { ...base, user: req.headers.authorization };
  },
});

// Functions call functions by reference or by value, of the matching kind, and results have the type after JSON.
const full = createFunctionHelpers<BaseContext<GeneratedModel> & { readonly user: string }>();
type Full = BaseContext<GeneratedModel> & { readonly user: string };
declare const internal: { readonly stats: Stats; readonly touch: Touch; readonly mail: RefFor<'mail', typeof mail> };
declare function takesAll(ctx: Full): Promise<string>;
const mail = full.internalAction({ input: { to: z.string() }, handler: async () => new Date() });

full.query({
  handler: async (ctx) => {
    expectTypeOf(await ctx.runQuery(api.messages.list, { channelId: 'channels:1' })).toEqualTypeOf<ResultOfRef<List>>();
    expectTypeOf(await ctx.runQuery(internal.stats)).toEqualTypeOf<{ at: string }>();
    expectTypeOf(await ctx.runQuery(stats, { day: '2020-01-01' })).toEqualTypeOf<{ at: string }>();
    expectTypeOf(ctx.now(1_000)).toEqualTypeOf<number>();
    // @ts-expect-error an argument is missing
    ctx.runQuery(api.messages.list);
    // @ts-expect-error an argument of another type
    ctx.runQuery(list, { channelId: 7 });
    // @ts-expect-error a mutation is no query
    ctx.runQuery(api.messages.send, { channelId: 'channels:1', body: 'x' });
    // @ts-expect-error a query only reads
    ctx.runMutation(touch);
    // @ts-expect-error and runs no actions
    ctx.runAction(mail, { to: 'ada' });
    return takesAll(ctx);
  },
});
full.mutation({
  transaction: false,
  handler: async (ctx) => {
    expectTypeOf(await ctx.runMutation(touch)).toEqualTypeOf<null>();
    expectTypeOf(await ctx.runMutation(internal.touch, {})).toEqualTypeOf<null>();
    await ctx.runQuery(stats);
    // @ts-expect-error a mutation may run again, an action may not
    ctx.runAction(internal.mail, { to: 'ada' });
    return takesAll(ctx);
  },
});
full.action({
  handler: async (ctx) => {
    expectTypeOf(await ctx.runAction(internal.mail, { to: 'ada' })).toEqualTypeOf<string>();
    expectTypeOf(await ctx.runAction(mail, { to: 'ada' })).toEqualTypeOf<string>();
    expectTypeOf((await ctx.runMutation(send, { channelId: 'channels:1', body: 'x' }))?.likes).toEqualTypeOf<
      number | undefined
    >();
    // @ts-expect-error an argument is missing
    ctx.runAction(mail);
    return takesAll(ctx);
  },
});
// @ts-expect-error an option of mutations only
full.query({ transaction: false, handler: () => 1 });
full.query({ http: 'GET', cache: { public: true, maxAge: 60 }, handler: () => 1 });
// @ts-expect-error `maxAge` is needed.
full.query({ http: 'GET', cache: { public: true }, handler: () => 1 });
// @ts-expect-error Only queries are called by GET.
full.mutation({ http: 'GET', handler: () => 1 });
// @ts-expect-error an option of queries only
full.action({ share: false, handler: () => 1 });

// A custom context type gets no members that it does not have.
type Narrow = QueryContext<{ readonly user: string }>;
expectTypeOf<keyof Narrow>().toEqualTypeOf<'user'>();

// A base context for tests is assignable to the full context.
expectTypeOf(createBaseContext<GeneratedModel>).returns.toEqualTypeOf<BaseContext<GeneratedModel>>();
expectTypeOf<BaseContext>().toEqualTypeOf<ConvoyContext>();
expectTypeOf<BaseContext<GeneratedModel>>().toEqualTypeOf<ConvoyContext<Database<GeneratedModel>>>();
expectTypeOf<ConvoyContext<DbFromSchema<typeof schema>>['db']>().toEqualTypeOf<DbFromSchema<typeof schema>>();

// In-process calls can reach actions and internal functions.
expectTypeOf(convoy.action(internal.mail, { to: 'ada' })).resolves.toEqualTypeOf<string>();
expectTypeOf(convoy.query(internal.stats, {})).resolves.toEqualTypeOf<{ at: string }>();
// @ts-expect-error an action is no mutation
convoy.mutation(internal.mail, { to: 'ada' });

// Without a schema, rows are assignable to any type of the program.
untypedQuery({
  handler: async (ctx) => {
    const rows: { body: string }[] = await ctx.db.query('messages').withIndex('by_channel').take(10);
    const first: { body: string; id: Id<'messages'> } | null = await ctx.db.query('messages').first();
    const { page } = await ctx.db.query('messages').paginate({ cursor: null, numItems: 5 });
    const bodies: string[] = page.map((row) => row.body);
    return [rows, first, bodies];
  },
});

// A function defined with `authed` has a user, with the type of the context's.
interface Member extends AuthUser {
  readonly name: string;
}
const members = createFunctionHelpers<BaseContext<GeneratedModel> & { readonly auth: Auth<Member>; team: string }>();
members.query({ handler: (ctx) => expectTypeOf(ctx.auth.user).toEqualTypeOf<Member | null>() });
members.authed.query({
  input: { at: z.number() },
  handler: (ctx, { at }) => {
    expectTypeOf(at).toEqualTypeOf<number>();
    expectTypeOf(ctx.auth.user).toEqualTypeOf<Member>();
    expectTypeOf(ctx.auth.require()).toEqualTypeOf<Member>();
    expectTypeOf(ctx.team).toEqualTypeOf<string>();
    ctx.auth.can((user) => user.name === 'Ann');
    // @ts-expect-error a predicate returns no promise
    ctx.auth.can(async () => true);
    // @ts-expect-error a query only reads
    ctx.db.delete('messages:1' as Id<'messages'>);
  },
});
const named = members.authed.mutation({ handler: (ctx) => ctx.auth.user.name });
expectTypeOf<ResultOfRef<RefFor<'named', typeof named>>>().toEqualTypeOf<string>();
// @ts-expect-error The context has no auth
full.authed.query({ handler: (ctx) => ctx.auth.user });
// Parameters of a route are those of its path, and its context is that of the program.
const { route } = createFunctionHelpers<ServerContext & { user: string }>();
route.get('/webhooks/:provider/files/*rest', async (ctx, request, params) => {
  expectTypeOf(ctx.user).toEqualTypeOf<string>();
  expectTypeOf(request).toEqualTypeOf<Request>();
  expectTypeOf(params).toEqualTypeOf<{ readonly provider: string; readonly rest: string }>();
  // @ts-expect-error - the path has no such parameter
  params.id;
  return new Response(params.rest);
});
route.post('/plain', { timeoutMs: 1_000, cors: { origins: ['https://app.example'] } }, (_ctx, _request, params) => {
  expectTypeOf<keyof typeof params>().toBeNever();
  return new Response();
});
const somePath: string = '/computed/:id';
route.all(somePath, (_ctx, _request, params) => {
  expectTypeOf(params).toEqualTypeOf<Readonly<Record<string, string>>>();
  return new Response(params.id);
});
// @ts-expect-error - a handler returns a Response
route.get('/text', () => 'text');
// @ts-expect-error - there is no such option
route.get('/text', { timeout: 5 }, () => new Response());
