import { expectTypeOf, test } from 'vitest';
import { type ComputedRef, reactive, ref } from 'vue';
import { makeActionRef, makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import type { ConvoyError } from '../values/errors.js';
import { skipToken, useAction, useMutation, useQuery } from './index.js';

const list = makeQueryRef<{ room: string; limit?: number }, { id: string; at: Date }[]>('messages.list');
const rooms = makeQueryRef<Record<never, never>, string[]>('rooms.list');
const send = makeMutationRef<{ body: string }, void>('messages.send');
const invite = makeActionRef<{ to: string }, Date>('mail.invite');

test('`useQuery` returns refs with the types of the query', () => {
  const { data, error, status, refetch } = useQuery(list, { room: 'hall' });
  expectTypeOf(data).toEqualTypeOf<ComputedRef<{ id: string; at: string }[] | null>>();
  expectTypeOf(error).toEqualTypeOf<ComputedRef<ConvoyError | null>>();
  expectTypeOf(status).toEqualTypeOf<ComputedRef<'pending' | 'success' | 'error'>>();
  expectTypeOf(refetch).returns.toEqualTypeOf<Promise<{ id: string; at: string }[] | null>>();
});

test('arguments are values, refs or getters, and are checked', () => {
  const room = ref<string | null>(null);
  useQuery(list, () => (room.value === null ? skipToken : { room: room.value }), { keepPrevious: true });
  useQuery(list, ref({ room: 'hall' }));
  useQuery(list, reactive({ room: 'hall' }));
  useQuery(list, 'skip');
  useQuery(rooms);
  useQuery(rooms, {}, () => ({ enabled: room.value !== null }));
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
