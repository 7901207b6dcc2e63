/** Functions with a list in pages, a client of them whose connection can be cut, and the requests for its pages. */

import { connect, createServer, type Socket } from 'node:net';
import {
  type BaseContext,
  createFunctionHelpers,
  type DataModelOf,
  defineSchema,
  defineTable,
  paginationOpts,
} from '@avvos/convoy';
import {
  type ArgsOfRef,
  type ConvoyClient,
  type LiveQuery,
  makeMutationRef,
  makeQueryRef,
  type PaginationOptions,
  type RefFor,
} from '@avvos/convoy/client';
import { z } from 'zod';

export const schema = defineSchema({
  rows: defineTable({ n: z.number(), isEven: z.boolean() }).index('by_n', ['n']),
});

const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();
const order = z.enum(['asc', 'desc']);

export const functions = {
  rows: {
    page: query({
      input: { paginationOpts, order },
      handler: (ctx, { paginationOpts, order }) =>
        ctx.db.query('rows').withIndex('by_n').order(order).paginate(paginationOpts),
    }),
    /** Few rows match. */
    evenPage: query({
      input: { paginationOpts },
      handler: (ctx, { paginationOpts }) =>
        ctx.db
          .query('rows')
          .withIndex('by_n')
          .filter((q) => q.eq(q.field('isEven'), true))
          .paginate(paginationOpts),
    }),
    all: query({
      input: { order },
      handler: (ctx, { order }) => ctx.db.query('rows').withIndex('by_n').order(order).collect(),
    }),
    insert: mutation({
      input: { numbers: z.array(z.number()) },
      handler: (ctx, { numbers }) =>
        ctx.db.insertMany(
          'rows',
          numbers.map((n) => ({ n, isEven: n % 2 === 0 })),
        ),
    }),
    move: mutation({
      input: { id: z.string(), n: z.number() },
      handler: (ctx, { id, n }) => ctx.db.patch(id as never, { n, isEven: n % 2 === 0 }),
    }),
    remove: mutation({
      input: { ids: z.array(z.string()) },
      handler: (ctx, { ids }) => ctx.db.deleteMany('rows', ids as never),
    }),
  },
};

type Rows = typeof functions.rows;
export const api = {
  page: makeQueryRef('rows.page') as RefFor<'rows.page', Rows['page']>,
  evenPage: makeQueryRef('rows.evenPage') as RefFor<'rows.evenPage', Rows['evenPage']>,
  all: makeQueryRef('rows.all') as RefFor<'rows.all', Rows['all']>,
  insert: makeMutationRef('rows.insert') as RefFor<'rows.insert', Rows['insert']>,
  move: makeMutationRef('rows.move') as RefFor<'rows.move', Rows['move']>,
  remove: makeMutationRef('rows.remove') as RefFor<'rows.remove', Rows['remove']>,
};

/** A proxy in front of a server, whose connections can be cut. */
export async function cuttingProxy(baseUrl: string) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const upstream = connect(Number(new URL(baseUrl).port), '127.0.0.1');
    for (const [from, to] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    baseUrl: `http://127.0.0.1:${port}`,
    cut,
    close: () => {
      server.close();
      cut();
    },
  };
}

/** Records the pages that a client requests, and which of them replaced two pages, or one by two. */
export function recordingPages(client: ConvoyClient, onRequest: () => void) {
  const requested = new Map<string, PaginationOptions>();
  const counts = { requests: 0, pinned: 0, splits: 0, merges: 0 };
  const queries = new Map<string, LiveQuery<unknown>>();
  const hasRange = (cursor: string | null, end: (end: string) => boolean) =>
    [...requested.values()].filter((page) => page.cursor === cursor && page.endCursor && end(page.endCursor));
  const record = (page: PaginationOptions): void => {
    const { cursor, endCursor } = page;
    const key = JSON.stringify(page);
    if (requested.has(key)) return;
    counts.requests += 1;
    if (endCursor) {
      counts.pinned += 1;
      const parts = hasRange(cursor, (end) => hasRange(end, (last) => last === endCursor).length > 0);
      if (parts.length > 0) counts.merges += 1;
      const wholes = [...requested.values()].filter(
        (whole) => whole.endCursor === endCursor && hasRange(whole.cursor, (end) => end === cursor).length > 0,
      );
      if (wholes.length > 0) counts.splits += 1;
    }
    requested.set(key, page);
    onRequest();
  };
  const recording = Object.create(client) as ConvoyClient;
  recording.liveQuery = (ref, args, options) => {
    const { paginationOpts } = args as ArgsOfRef<typeof api.page>;
    record(paginationOpts);
    const query = client.liveQuery(ref, args, options);
    queries.set(JSON.stringify(paginationOpts), query);
    return query;
  };
  /** The connection and the latest pages, for the message of a failure. */
  const describe = (): string =>
    [
      `the client is ${client.connection.getSnapshot()}`,
      ...[...queries].slice(-12).map(([page, query]) => {
        const { data, ...state } = query.getSnapshot();
        const result = data as { page: unknown[]; isDone: boolean; continueCursor: string } | null;
        return `${page}: ${JSON.stringify({ ...state, ...result, page: result?.page.length })}`;
      }),
    ].join('\n');
  return { client: recording, counts, describe };
}
