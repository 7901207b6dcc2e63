import { expectTypeOf, test } from 'vitest';
import { makeActionRef, makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import type { ConvoyError } from '../values/errors.js';
import { skipToken, useAction, useMutation, useQuery } from './index.js';

const list = makeQueryRef<{ room: string; limit?: number }, { id: string; at: Date }[]>('messages.list');
const rooms = makeQueryRef<Record<never, never>, string[]>('rooms.list');
const send = makeMutationRef<{ body: string }, void>('messages.send');
const invite = makeActionRef<{ to: string }, Date>('mail.invite');

test('`useQuery` returns an object with the types of the query, and the status narrows them', () => {
  const query = useQuery(list, { room: 'hall' });
  expectTypeOf(query.data).toEqualTypeOf<{ id: string; at: string }[] | null>();
  if (query.status === 'success') expectTypeOf(query.data).toEqualTypeOf<{ id: string; at: string }[]>();
  if (query.status === 'pending') expectTypeOf(query.data).toEqualTypeOf<null>();
  if (query.status === 'error') expectTypeOf(query.error).toEqualTypeOf<ConvoyError>();
  expectTypeOf(query.refetch).returns.toEqualTypeOf<Promise<{ id: string; at: string }[] | null>>();
});

test('arguments are a value or a getter, and are checked', () => {
  const room = () => null as string | null;
  useQuery(
    list,
    () => {
      const name = room();
      return name === null ? skipToken : { room: name };
    },
    { keepPrevious: true },
  );
  useQuery(list, { room: 'hall' });
  useQuery(list, 'skip');
  useQuery(rooms);
  useQuery(rooms, {}, () => ({ enabled: room() !== null }));
  // @ts-expect-error room is missing
  useQuery(list);
  // @ts-expect-error room is missing
  useQuery(list, () => ({}));
  // @ts-expect-error limit is a number
  useQuery(list, { room: 'hall', limit: 'ten' });
  // @ts-expect-error a mutation is no query
  useQuery(send, { body: 'a' });
});

test('mutations and actions are called with their arguments and resolve with their result', () => {
  const call = useMutation(send, { optimistic: (store, { body }) => store.set(rooms, {}, (all) => [...all, body]) });
  expectTypeOf(call({ body: 'a' }, { await: 'committed' })).toEqualTypeOf<Promise<null>>();
  // @ts-expect-error body is missing
  call({});
  expectTypeOf(useAction(invite)({ to: 'ada' })).toEqualTypeOf<Promise<string>>();
  // @ts-expect-error a query is no mutation
  useMutation(list);
  // @ts-expect-error a mutation is no action
  useAction(send);
});
