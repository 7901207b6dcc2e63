import type { MouseEventHandler } from 'react';
import { expectTypeOf, test } from 'vitest';
import { createConvoyClient } from '../client/client.js';
import { skipToken } from '../client/skip.js';
import { makeActionRef, makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import type { ConvoyError } from '../values/errors.js';
import { useAction } from './use-action.js';
import { useMutation, useMutationState } from './use-mutation.js';
import { useQueries } from './use-queries.js';
import { type UseQueryResult, useQuery } from './use-query.js';
import { useSuspenseQuery } from './use-suspense-query.js';

interface Message {
  id: string;
  at: Date;
}
const list = makeQueryRef<{ channelId: string; limit?: number }, Message[]>('messages.list');
const channels = makeQueryRef<Record<never, never>, string[]>('channels.list');
const search = makeQueryRef<{ text?: string }, string[]>('channels.search');
const send = makeMutationRef<{ body: string }, void>('messages.send');
const invite = makeActionRef<{ to: string }, Date>('mail.invite');
const clear = makeMutationRef<Record<never, never>, number>('messages.clear');

test('data has the type of the result after JSON', () => {
  const { data } = useQuery(list, { channelId: 'c' });
  expectTypeOf(data).toEqualTypeOf<{ id: string; at: string }[] | null>();
});

test('the status narrows the type of the data', () => {
  const query = useQuery(channels);
  if (query.status === 'success') expectTypeOf(query.data).toEqualTypeOf<string[]>();
  if (query.status === 'pending') expectTypeOf(query.data).toEqualTypeOf<null>();
  if (query.status === 'error') expectTypeOf(query.error).toEqualTypeOf<ConvoyError>();
  expectTypeOf(query.refetch).returns.toEqualTypeOf<Promise<string[] | null>>();
});

test('`refetch` takes arguments of the query, and the client may be a custom object', () => {
  const { refetch } = useQuery(list, { channelId: 'c' });
  refetch();
  expectTypeOf(refetch({ channelId: 'd', limit: 3 })).toEqualTypeOf<Promise<{ id: string; at: string }[] | null>>();
  // @ts-expect-error channelId is missing
  refetch({ limit: 3 });
  const onClick: MouseEventHandler<HTMLButtonElement> = refetch;
  onClick satisfies object;
  const client = { query: async () => [], mutation: async (_ref: unknown, _args: unknown) => null };
  const { data } = useQuery(list, { channelId: 'c' }, { client });
  expectTypeOf(data).toEqualTypeOf<{ id: string; at: string }[] | null>();
  useMutation(send, { client });
  // @ts-expect-error it cannot query
  useQuery(channels, {}, { client: { mutation: client.mutation } });
});

test('arguments are checked, and may be left out only where an empty object fits', () => {
  useQuery(list, skipToken);
  useQuery(list, 'skip');
  useQuery(channels, {}, { keepPrevious: true });
  useQuery(search);
  // @ts-expect-error channelId is missing
  useQuery(list);
  // @ts-expect-error channelId is missing
  useQuery(list, {});
  // @ts-expect-error limit is a number
  useQuery(list, { channelId: 'c', limit: 'ten' });
  // @ts-expect-error not a way to skip
  useQuery(list, 'later');
  // @ts-expect-error a mutation is no query
  useQuery(send, { body: 'a' });
});

test('mutations are called with their arguments and resolve with their result', () => {
  const call = useMutation(send);
  expectTypeOf(call({ body: 'a' })).toEqualTypeOf<Promise<null>>();
  // @ts-expect-error body is missing
  call({});
  // @ts-expect-error body is missing
  call();
  expectTypeOf(useMutation(clear)()).toEqualTypeOf<Promise<number>>();
  const { mutate, error } = useMutationState(send);
  expectTypeOf(mutate({ body: 'a' })).toEqualTypeOf<Promise<null>>();
  expectTypeOf(error).toEqualTypeOf<ConvoyError | null>();
  // @ts-expect-error a query is no mutation
  useMutation(list);
});

test('actions are called with their arguments and resolve with their result', () => {
  expectTypeOf(useAction(invite)({ to: 'ada' })).toEqualTypeOf<Promise<string>>();
  // @ts-expect-error to is missing
  useAction(invite)();
  // @ts-expect-error a mutation is no action
  useAction(send);
});

test('the client is typed the same way', () => {
  const client = createConvoyClient();
  expectTypeOf(client.query(channels)).toEqualTypeOf<Promise<string[]>>();
  expectTypeOf(client.mutation(send, { body: 'a' })).toEqualTypeOf<Promise<null>>();
  expectTypeOf(client.action(invite, { to: 'ada' })).toEqualTypeOf<Promise<string>>();
  // @ts-expect-error an action is no mutation
  client.mutation(invite, { to: 'ada' });
  client.watch(list, { channelId: 'c' }, ({ data }) => {
    expectTypeOf(data).toEqualTypeOf<{ id: string; at: string }[] | null>();
  });
  // @ts-expect-error a mutation cannot be watched
  client.watch(send, { body: 'a' }, () => {});
  // @ts-expect-error channelId is missing
  client.query(list);
});

test('`useSuspenseQuery` returns the data', () => {
  expectTypeOf(useSuspenseQuery(list, { channelId: 'c' })).toEqualTypeOf<{ id: string; at: string }[]>();
  expectTypeOf(useSuspenseQuery(channels)).toEqualTypeOf<string[]>();
  // @ts-expect-error channelId is missing
  useSuspenseQuery(list);
  // @ts-expect-error a component without data cannot return any, so the query cannot be skipped
  useSuspenseQuery(list, 'skip');
  // @ts-expect-error a mutation is not a query
  useSuspenseQuery(send, { body: '' });
});

test('`useQueries` returns a result of its own type for each name', () => {
  const results = useQueries({ messages: { ref: list, args: { channelId: 'c' } }, channels: { ref: channels } });
  expectTypeOf(results.messages).toEqualTypeOf<UseQueryResult<{ id: string; at: string }[]>>();
  expectTypeOf(results.channels.data).toEqualTypeOf<string[] | null>();
  useQueries({ messages: { ref: list, args: skipToken }, others: { ref: search, args: 'skip' } });
  // @ts-expect-error channelId is missing
  useQueries({ messages: { ref: list, args: {} } });
  // @ts-expect-error the arguments are missing
  useQueries({ messages: { ref: list } });
  // @ts-expect-error a mutation is not a query
  useQueries({ send: { ref: send, args: { body: '' } } });
});
