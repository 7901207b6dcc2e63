/** Pages with an `endCursor`: they cover the same range after any writes, and say where they can be split. */
import { type ConvoyContext, defineSchema, defineTable } from '@avvos/convoy';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { serveImprovised } from './improvised.js';

const schema = defineSchema({
  things: defineTable({ n: z.number().nullable() }).index('by_n', ['n']),
});

let app: Awaited<ReturnType<typeof serveImprovised>>;
beforeAll(async () => {
  app = await serveImprovised({ schema: schema as never });
});
afterAll(() => app.close());

type Direction = 'asc' | 'desc';
const ordered = ({ db }: ConvoyContext, direction: Direction) => db.query('things').withIndex('by_n').order(direction);
const page = (direction: Direction, cursor: string | null, endCursor?: string) =>
  app.query((ctx) =>
    ordered(ctx, direction).paginate({ cursor, numItems: 7, ...(endCursor === undefined ? {} : { endCursor }) }),
  );
const add = (count: number, nullEvery: number) =>
  app.mutation(({ db }) =>
    db.insertMany(
      'things',
      Array.from({ length: count }, (_, i) => ({ n: i % nullEvery === 0 ? null : i % 11 })),
    ),
  );

test.each<Direction>(['asc', 'desc'])('pages with an `endCursor` stay adjacent, %s', async (direction) => {
  await add(40, 5);
  const ends: [from: string | null, to: string][] = [];
  for (let cursor: string | null = null, done = false; !done; ) {
    const { continueCursor, isDone }: { continueCursor: string; isDone: boolean } = await page(direction, cursor);
    ends.push([cursor, continueCursor]);
    cursor = continueCursor;
    done = isDone;
  }
  await add(30, 4);
  const seen: unknown[] = [];
  for (const [from, to] of ends) seen.push(...(await page(direction, from, to)).page);
  for (let cursor = ends.at(-1)?.[1] ?? null, done = false; !done; ) {
    const rest = await page(direction, cursor);
    seen.push(...rest.page);
    cursor = rest.continueCursor;
    done = rest.isDone;
  }
  const all = await app.query((ctx) => ordered(ctx, direction).collect());
  expect(ends.length).toBeGreaterThan(3);
  expect(seen).toEqual(all);
});

test('a page that began without documents can be ended there', async () => {
  const none = (cursor: string | null, endCursor?: string) =>
    app.query(({ db }) =>
      db
        .query('things')
        .withIndex('by_n', (q) => q.gt('n', 1_000))
        .paginate({ cursor, numItems: 7, endCursor }),
    );
  const first = await none(null);
  expect(first).toEqual({ page: [], isDone: true, continueCursor: expect.any(String) });
  await app.mutation(({ db }) => db.insert('things', { n: 1_001 }));
  const { continueCursor } = first;
  expect(await none(null, continueCursor)).toEqual({ page: [], isDone: false, continueCursor });
  expect(await none(continueCursor)).toMatchObject({ page: [{ n: 1_001 }], isDone: true });
});

test.each<Direction>(['asc', 'desc'])(
  'more than twice `numItems` documents have a `splitCursor`, %s',
  async (order) => {
    const of = (cursor: string | null, numItems: number, endCursor?: string) =>
      app.query(({ db }) =>
        db
          .query('things')
          .withIndex('by_n', (q) => q.gte('n', 2_000))
          .order(order)
          .paginate({ cursor, numItems, endCursor }),
      );
    await app.mutation(({ db }) =>
      db.insertMany(
        'things',
        Array.from({ length: 9 }, () => ({ n: 2_000 })),
      ),
    );
    const { page: all, continueCursor: end, ...rest } = await of(null, 20);
    expect(rest).toEqual({ isDone: true });
    const count = all.length;
    expect(await of(null, Math.ceil(count / 2), end)).not.toHaveProperty('splitCursor');
    const { splitCursor = '' } = await of(null, Math.ceil(count / 2) - 1, end);
    const halves = [await of(null, 1, splitCursor), await of(splitCursor, 1, end)];
    expect(halves.map(({ page }) => page.length)).toEqual([Math.floor(count / 2), Math.ceil(count / 2)]);
    expect(halves.flatMap(({ page }) => page)).toEqual(all);
  },
);
