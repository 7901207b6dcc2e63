/** The types of documents, inputs, field paths and indexes that are derived from a schema. */

import { expectTypeOf } from 'vitest';
import * as z from 'zod';
import type { Id } from '../values/ids.js';
import { type DataModelOf, defineRef, defineSchema, defineTable, type InferTableRow } from './index.js';

const schema = defineSchema({
  channels: defineTable({ name: z.string() }).index('by_name', ['name'], { unique: true }),
  messages: defineTable({
    channelId: defineRef('channels'),
    body: z.string(),
    likes: z.number().default(0),
    address: z.object({ city: z.string(), geo: z.object({ lat: z.number() }) }).optional(),
  }).index('by_channel', ['channelId', 'address.geo.lat', '_creationTime']),
  events: defineTable(
    z.discriminatedUnion('type', [
      z.object({ type: z.literal('joined'), who: z.string() }),
      z.object({ type: z.literal('counted'), count: z.number() }),
    ]),
  )
    .index('by_type', ['type', 'who'])
    .unmanaged(),
});

type Model = DataModelOf<typeof schema>;

expectTypeOf<keyof Model>().toEqualTypeOf<'channels' | 'messages' | 'events'>();

expectTypeOf<Model['messages']['document']>().toEqualTypeOf<{
  channelId: Id<'channels'>;
  body: string;
  likes: number;
  address?: { city: string; geo: { lat: number } } | undefined;
  readonly id: Id<'messages'>;
  readonly _creationTime: number;
}>();

expectTypeOf<Model['messages']['input']>().toEqualTypeOf<{
  channelId: `channels:${string}`;
  body: string;
  likes?: number | undefined;
  address?: { city: string; geo: { lat: number } } | undefined;
}>();

expectTypeOf<Model['messages']['indexes']['by_channel']>().toEqualTypeOf<
  readonly ['channelId', 'address.geo.lat', '_creationTime']
>();
expectTypeOf<Model['channels']['indexes']['by_id']>().toEqualTypeOf<readonly ['id']>();

// A union of objects stays a union, so `type` discriminates the options.
declare const event: Model['events']['document'];
if (event.type === 'joined') expectTypeOf(event.who).toEqualTypeOf<string>();
else expectTypeOf(event.count).toEqualTypeOf<number>();
expectTypeOf(event.id).toEqualTypeOf<Id<'events'>>();

expectTypeOf<InferTableRow<typeof schema.tables.channels, 'channels'>>().toEqualTypeOf<{
  name: string;
  readonly id: Id<'channels'>;
  readonly _creationTime: number;
}>();

// Ids of different tables are not assignable to each other; inputs accept a literal with the right prefix.
declare const channelId: Id<'channels'>;
expectTypeOf(channelId).toExtend<string>();
expectTypeOf<Id<'channels'>>().not.toExtend<Id<'messages'>>();
expectTypeOf<'channels:1'>().toExtend<Model['messages']['input']['channelId']>();
expectTypeOf<'messages:1'>().not.toExtend<Model['messages']['input']['channelId']>();

// @ts-expect-error there is no such field
defineTable({ name: z.string() }).index('by_nmae', ['nmae']);
// @ts-expect-error deeper than three names
defineTable({ a: z.object({ b: z.object({ c: z.object({ d: z.string() }) }) }) }).index('by_d', ['a.b.c.d']);
// @ts-expect-error a document is an object
defineTable(z.string());

// A table without indexes may be given as its shape.
const shapes = defineSchema({
  plain: { body: z.string(), likes: z.number().default(0) },
  object: z.object({ name: z.string() }),
  table: defineTable({ plainId: defineRef('plain') }).index('by_plain', ['plainId']),
});
type Shapes = DataModelOf<typeof shapes>;
expectTypeOf<Shapes['plain']['document']>().toEqualTypeOf<{
  body: string;
  likes: number;
  readonly id: Id<'plain'>;
  readonly _creationTime: number;
}>();
expectTypeOf<Shapes['plain']['input']>().toEqualTypeOf<{ body: string; likes?: number | undefined }>();
expectTypeOf<Shapes['plain']['indexes']['by_id']>().toEqualTypeOf<readonly ['id']>();
expectTypeOf<Shapes['object']['document']['name']>().toEqualTypeOf<string>();
expectTypeOf<Shapes['table']['indexes']['by_plain']>().toEqualTypeOf<readonly ['plainId']>();
// @ts-expect-error a shape consists of Zod types
defineSchema({ wrong: { body: 'string' } });
