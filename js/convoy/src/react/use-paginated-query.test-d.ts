import { expectTypeOf, test } from 'vitest';
import * as z from 'zod';
import { createConvoyClient } from '../client/client.js';
import { paginatedQuery } from '../client/paginated-query.js';
import { skipToken } from '../client/skip.js';
import type { PageResult, PaginatedQueryCheck, PaginationOptions } from '../protocol/pages.js';
import { makeMutationRef, makeQueryRef, type RefFor } from '../protocol/refs.js';
import type { DataModelOf } from '../schema/index.js';
import { defineSchema, defineTable } from '../schema/index.js';
import type { BaseContext } from '../server/contexts.js';
import { createFunctionHelpers } from '../server/functions.js';
import { paginationOpts } from '../server/pagination-opts.js';
import type { ConvoyError } from '../values/errors.js';
import { usePaginatedQuery } from './use-paginated-query.js';

interface Message {
  id: string;
  at: Date;
}
type Page = PageResult<Message>;
const list = makeQueryRef<{ room: string; limit?: number; paginationOpts: PaginationOptions }, Page>('messages.list');
const all = makeQueryRef<{ paginationOpts: PaginationOptions }, Page>('messages.all');
const whole = makeQueryRef<{ paginationOpts: PaginationOptions }, Message[]>('messages.whole');
const unpaged = makeQueryRef<{ room: string }, Page>('messages.unpaged');
const unpinned = makeQueryRef<{ paginationOpts: { cursor: string | null; numItems: number } }, Page>('messages.old');
const send = makeMutationRef<{ body: string }, Page>('messages.send');
const options = { initialNumItems: 10 };

test('the elements have the type of those of the page after JSON', () => {
  const { results, status, isLoading, error, loadMore } = usePaginatedQuery(list, { room: 'a' }, options);
  expectTypeOf(results).toEqualTypeOf<readonly { id: string; at: string }[]>();
  expectTypeOf(status).toEqualTypeOf<'LoadingFirstPage' | 'CanLoadMore' | 'LoadingMore' | 'Exhausted'>();
  expectTypeOf(isLoading).toEqualTypeOf<boolean>();
  expectTypeOf(error).toEqualTypeOf<ConvoyError | null>();
  expectTypeOf(loadMore).toEqualTypeOf<(numItems: number) => void>();
});

test('arguments are those of the query without paginationOpts', () => {
  usePaginatedQuery(all, {}, options);
  usePaginatedQuery(list, { room: 'a', limit: 3 }, options);
  usePaginatedQuery(list, skipToken, options);
  usePaginatedQuery(list, 'skip', options);
  // @ts-expect-error room is missing
  usePaginatedQuery(list, {}, options);
  // @ts-expect-error limit is a number
  usePaginatedQuery(list, { room: 'a', limit: 'ten' }, options);
  // @ts-expect-error the hook sets it
  usePaginatedQuery(list, { room: 'a', paginationOpts: { cursor: null, numItems: 3 } }, options);
  // @ts-expect-error the size of the first page is missing
  usePaginatedQuery(all, {}, {});
});

test('a query that cannot be paginated is refused, with the reason', () => {
  // @ts-expect-error it does not return a page
  usePaginatedQuery(whole, {}, options);
  // @ts-expect-error it has no paginationOpts
  usePaginatedQuery(unpaged, { room: 'a' }, options);
  // @ts-expect-error its paginationOpts has no endCursor
  usePaginatedQuery(unpinned, {}, options);
  // @ts-expect-error a mutation is no query
  usePaginatedQuery(send, { body: 'a' }, options);
  expectTypeOf<PaginatedQueryCheck<typeof all>>().toEqualTypeOf<unknown>();
  expectTypeOf<
    PaginatedQueryCheck<typeof whole>
  >().toEqualTypeOf<'this query does not return a page: return the result of .paginate(paginationOpts)'>();
});

test('a query with the exported input returns documents of its table', () => {
  const schema = defineSchema({ notes: defineTable({ body: z.string() }) });
  const { query } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();
  const notes = query({
    input: { paginationOpts, tag: z.string() },
    handler: (ctx, { paginationOpts }) => ctx.db.query('notes').paginate(paginationOpts),
  });
  const mapped = query({
    input: { paginationOpts },
    handler: async (ctx, { paginationOpts }) => {
      const result = await ctx.db.query('notes').paginate(paginationOpts);
      return { ...result, page: result.page.map(({ body }) => body.length) };
    },
  });
  const ref = makeQueryRef('notes') as RefFor<'notes', typeof notes>;
  const { results } = usePaginatedQuery(ref, { tag: 'a' }, options);
  expectTypeOf(results[0]?.body).toEqualTypeOf<string | undefined>();
  const lengths = makeQueryRef('mapped') as RefFor<'mapped', typeof mapped>;
  expectTypeOf(usePaginatedQuery(lengths, {}, options).results).toEqualTypeOf<readonly number[]>();
  const client = createConvoyClient();
  expectTypeOf(paginatedQuery(client, lengths, {}, options).getSnapshot().results).toEqualTypeOf<readonly number[]>();
});
