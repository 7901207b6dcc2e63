import { createCollection, createLiveQueryCollection, eq, parseLoadSubsetOptions } from '@tanstack/db';
import { expectTypeOf, test } from 'vitest';
import type { ConvoyClient } from '../client/client.js';
import type { PageResult } from '../protocol/pages.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import type { Id } from '../values/ids.js';
import { convoyCollectionOptions } from './index.js';

interface Message {
  id: Id<'messages'>;
  author: Id<'users'>;
  body: string;
  at: Date;
}
interface Row {
  id: Id<'messages'>;
  author: Id<'users'>;
  body: string;
  at: string;
}

const list = makeQueryRef<{ room: string }, Message[]>('messages.list');
const users = makeQueryRef<Record<never, never>, { id: Id<'users'>; name: string }[]>('users.list');
const paged = makeQueryRef<{ room: string }, PageResult<Message>>('messages.page');
const counts = makeQueryRef<Record<never, never>, { room: string; count: number }[]>('messages.counts');
const filtered = makeQueryRef<{ filters: { field: string; value: string }[]; limit?: number }, Message[]>(
  'messages.filtered',
);
const send = makeMutationRef<{ body: string }, void>('messages.send');
declare const client: ConvoyClient;

test('rows have the type of the result of the query, after JSON', () => {
  const messages = createCollection(convoyCollectionOptions({ query: list, args: { room: 'hall' }, client }));
  expectTypeOf(messages.toArray[0]?.at).toEqualTypeOf<string | undefined>();
  expectTypeOf(messages.get).parameter(0).toEqualTypeOf<Id<'messages'>>();
  expectTypeOf(messages.insert).parameter(0).toEqualTypeOf<Row | Row[]>();
  expectTypeOf(messages.utils.error).toEqualTypeOf<Error | null>();
});

test('handlers have typed rows', () => {
  convoyCollectionOptions({
    query: list,
    args: { room: 'hall' },
    client,
    onInsert: async ({ transaction }) => {
      const { modified } = transaction.mutations[0];
      expectTypeOf(modified).toEqualTypeOf<Row>();
      await client.mutation(send, { body: modified.body });
    },
    onUpdate: async ({ transaction }) => {
      expectTypeOf(transaction.mutations[0].original).toEqualTypeOf<Row>();
      expectTypeOf(transaction.mutations[0].changes.body).toEqualTypeOf<string | undefined>();
    },
    onDelete: async ({ transaction }) => {
      expectTypeOf(transaction.mutations[0].original).toEqualTypeOf<Row>();
    },
    gcTime: 1_000,
  });
});

test('a join has the types of both', () => {
  const messages = createCollection(convoyCollectionOptions({ query: list, args: { room: 'hall' } }));
  const authors = createCollection(convoyCollectionOptions({ query: users }));
  const joined = createLiveQueryCollection((q) =>
    q
      .from({ message: messages })
      .innerJoin({ author: authors }, ({ message, author }) => eq(message.author, author.id))
      .select(({ message, author }) => ({ body: message.body, name: author.name })),
  );
  expectTypeOf(joined.toArray[0]?.name).toEqualTypeOf<string | undefined>();
});

test('arguments are checked, and may be left out only where an empty object fits', () => {
  convoyCollectionOptions({ query: users, args: {} });
  // @ts-expect-error room is missing
  convoyCollectionOptions({ query: list });
  // @ts-expect-error room is missing
  convoyCollectionOptions({ query: list, args: {} });
  // @ts-expect-error a mutation is no query
  convoyCollectionOptions({ query: send, args: { body: 'a' } });
});

test('a result that is no list needs `select`, and rows without an id need `getKey`', () => {
  const messages = createCollection(
    convoyCollectionOptions({ query: paged, args: { room: 'hall' }, select: ({ page }) => page }),
  );
  expectTypeOf(messages.get).parameter(0).toEqualTypeOf<Id<'messages'>>();
  expectTypeOf(messages.toArray[0]?.body).toEqualTypeOf<string | undefined>();
  const rooms = createCollection(convoyCollectionOptions({ query: counts, getKey: ({ room }) => room }));
  expectTypeOf(rooms.get).parameter(0).toEqualTypeOf<string>();
  const converted = createCollection(
    convoyCollectionOptions({
      query: list,
      args: { room: 'hall' },
      select: (rows) => rows.map((row) => ({ ...row, at: new Date(row.at) })),
    }),
  );
  expectTypeOf(converted.toArray[0]?.at).toEqualTypeOf<Date | undefined>();
  // @ts-expect-error select is missing
  convoyCollectionOptions({ query: paged, args: { room: 'hall' } });
  // @ts-expect-error getKey is missing
  convoyCollectionOptions({ query: counts });
});

test('on demand, arguments are a function of the subset', () => {
  const messages = createCollection(
    convoyCollectionOptions({
      query: filtered,
      syncMode: 'on-demand',
      args: (subset) => {
        const { filters, limit } = parseLoadSubsetOptions(subset);
        return {
          filters: filters.map(({ field, value }) => ({ field: field.join('.'), value: String(value) })),
          ...(limit !== undefined && { limit }),
        };
      },
    }),
  );
  expectTypeOf(messages.toArray[0]?.body).toEqualTypeOf<string | undefined>();
  // @ts-expect-error without a function
  convoyCollectionOptions({ query: filtered, syncMode: 'on-demand', args: { filters: [] } });
  // @ts-expect-error a function, but not on demand
  convoyCollectionOptions({ query: filtered, args: () => ({ filters: [] }) });
});
