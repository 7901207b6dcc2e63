import {
  QueryClient,
  skipToken as tanstackSkipToken,
  useMutation,
  useQueries,
  useQuery,
  useSuspenseQuery,
} from '@tanstack/react-query';
import { expectTypeOf, test } from 'vitest';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import type { ConvoyError } from '../values/errors.js';
import { mutationOptions, provideConvoy, queryOptions, skipToken } from './index.js';

interface Message {
  id: string;
  at: Date;
}
type Result = { id: string; at: string }[];

const list = makeQueryRef<{ room: string; limit?: number }, Message[]>('messages.list');
const rooms = makeQueryRef<Record<never, never>, string[]>('rooms.list');
const send = makeMutationRef<{ body: string }, void>('messages.send');
const clear = makeMutationRef<Record<never, never>, number>('messages.clear');
const queryClient = new QueryClient();

test('data and error have the types of the query', () => {
  const { data, error } = useQuery(queryOptions(list, { room: 'hall' }));
  expectTypeOf(data).toEqualTypeOf<Result | undefined>();
  expectTypeOf(error).toEqualTypeOf<ConvoyError | null>();
  expectTypeOf(useSuspenseQuery(queryOptions(list, { room: 'hall' })).data).toEqualTypeOf<Result>();
  expectTypeOf(useQuery(queryOptions(rooms)).data).toEqualTypeOf<string[] | undefined>();
  const [first, second] = useQueries({ queries: [queryOptions(rooms), queryOptions(list, { room: 'hall' })] });
  expectTypeOf(first.data).toEqualTypeOf<string[] | undefined>();
  expectTypeOf(second.data).toEqualTypeOf<Result | undefined>();
});

test('options are added by spreading', () => {
  const query = useQuery({ ...queryOptions(list, { room: 'hall' }), select: (messages) => messages.length });
  expectTypeOf(query.data).toEqualTypeOf<number | undefined>();
  const shown = useQuery({ ...queryOptions(rooms), placeholderData: (previous) => previous, gcTime: 0 });
  expectTypeOf(shown.data).toEqualTypeOf<string[] | undefined>();
});

test('the cache has the types too', () => {
  const { queryKey } = queryOptions(list, { room: 'hall' });
  expectTypeOf(queryClient.getQueryData(queryKey)).toEqualTypeOf<Result | undefined>();
  expectTypeOf(queryClient.ensureQueryData(queryOptions(rooms))).toEqualTypeOf<Promise<string[]>>();
  expectTypeOf(queryClient.fetchQuery(queryOptions(rooms))).toEqualTypeOf<Promise<string[]>>();
});

test('arguments are checked, and may be left out only where an empty object fits', () => {
  const room = null as string | null;
  const { data } = useQuery(queryOptions(list, room === null ? skipToken : { room }));
  expectTypeOf(data).toEqualTypeOf<Result | undefined>();
  useQuery(queryOptions(list, room === null ? tanstackSkipToken : { room }));
  useQuery(queryOptions(list, 'skip'));
  // @ts-expect-error room is missing
  queryOptions(list);
  // @ts-expect-error room is missing
  queryOptions(list, {});
  // @ts-expect-error limit is a number
  queryOptions(list, { room: 'hall', limit: 'ten' });
  // @ts-expect-error a mutation is no query
  queryOptions(send, { body: 'a' });
});

test('mutations have the types of their arguments, result and error', () => {
  const { mutate, mutateAsync, error } = useMutation(
    mutationOptions(send, { optimistic: (store) => store.set(rooms, {}, (all) => all) }),
  );
  mutate({ body: 'a' });
  expectTypeOf(mutateAsync({ body: 'a' })).toEqualTypeOf<Promise<null>>();
  expectTypeOf(error).toEqualTypeOf<ConvoyError | null>();
  // @ts-expect-error body is missing
  mutate({});
  // @ts-expect-error body is missing
  mutate();
  const cleared = useMutation({ ...mutationOptions(clear), onSuccess: (count) => expectTypeOf(count).toBeNumber() });
  cleared.mutate();
  // @ts-expect-error a query is no mutation
  mutationOptions(list);
});

test('the client may be a custom object', () => {
  provideConvoy(queryClient, { query: async () => [], mutation: async () => null });
  // @ts-expect-error it cannot query
  provideConvoy(queryClient, { mutation: async () => null });
});
