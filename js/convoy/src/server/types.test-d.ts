/** From the schema to a handler's context, to the function's reference, to what the client gets. */

import type { IncomingMessage } from 'node:http';
import { expectTypeOf } from 'vitest';
import * as z from 'zod';
import type { ArgsOfRef, RefFor, ResultOfRef } from '../protocol/refs.js';
import { defineRef, defineSchema, defineTable, type IndexesOf } from '../schema/index.js';
import type { Id } from '../values/ids.js';
import type { BaseContext, CreateContext } from './contexts.js';
import { type Convoy, createConvoy } from './convoy.js';
import type { DbFromSchema } from './database.js';
import { createFunctionHelpers, query as untypedQuery } from './functions.js';

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

// References: what callers pass is `z.input`, what they get is the result after JSON.
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

// What JSON makes of a result.
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

// Mistakes the compiler finds.
query({
  handler: async (ctx) => {
    // @ts-expect-error a query cannot write
    await ctx.db.insert('channels', { name: 'general' });
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
  },
});
// @ts-expect-error the result does not fit `returns`
query({ returns: z.object({ count: z.number() }), handler: () => ({ count: 'many' }) });

query({ returns: z.object({ kind: z.enum(['a', 'b']) }), handler: async () => ({ kind: 'a' as const }) });

// A helper typed for the full context takes a query's context too.
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

// Without generated types: any table, any field.
untypedQuery({
  input: { id: z.string() },
  handler: async (ctx, { id }) => {
    const rows = await ctx.db
      .query('anything')
      .withIndex('by_x', (q) => q.eq('x', 1))
      .collect();
    const row = await ctx.db.get('anything', id as Id<'anything'>);
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

// Generated code states the model as interfaces and gets the same database.
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

// In-process calls take references and give what a client would get.
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
