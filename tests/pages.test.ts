/** A page with an `endCursor` covers the same range after any writes. */
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
