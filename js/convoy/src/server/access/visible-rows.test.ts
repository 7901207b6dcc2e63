import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { hostOf, type Script, uuid } from '../../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../../schema/index.js';
import type { BaseContext } from '../contexts.js';
import { query } from '../functions.js';
import type { PageOperation } from '../operations.js';

const CLIENT = JSON.stringify({ method: 'POST', url: '/api', headers: {} });

/** Runs a query over `total` rows, of which those that `isVisible` picks are visible; cursors are the numbers of rows. */
async function run(total: number, isVisible: (n: number) => boolean, handler: (ctx: BaseContext) => unknown) {
  const schema = defineSchema({
    rows: defineTable({ n: z.number() }).access({ read: (_, { n }) => isVisible(n) }),
  });
  const row = (n: number) => ({ id: `rows:${uuid(n)}`, n });
  const script: Script = (op) => {
    const { cursor, end, size } = op as PageOperation;
    const first = Number(cursor ?? 0);
    const last = end === null ? Math.min(first + size, total) : Number(end);
    const numbers = Array.from({ length: last - first }, (_, at) => first + at + 1);
    const cursors = [first, ...numbers].map(String);
    return {
      ok: { page: numbers.map(row), isDone: end === null && last === total, continueCursor: String(last), cursors },
    };
  };
  const host = hostOf({ schema, functions: { fn: query({ handler: handler as never }) } }, script);
  const { body } = await host.call('fn', {}, CLIENT);
  return { body, sizes: host.engine.ops.map((op) => (op as PageOperation).size) };
}

const numbers = (rows: readonly { readonly n: number }[]) => rows.map(({ n }) => n);

describe('a query over hidden rows', () => {
  it('is one statement if nothing is hidden', async () => {
    const all = () => true;
    expect(await run(9, all, async ({ db }) => numbers(await db.query('rows').take(3)))).toEqual({
      body: [1, 2, 3],
      sizes: [3],
    });
    const page = await run(9, all, ({ db }) => db.query('rows').paginate({ cursor: null, numItems: 3 }));
    expect(page).toMatchObject({ body: { isDone: false, continueCursor: '3' }, sizes: [4] });
  });

  it('reads on in larger and larger steps', async () => {
    const { body, sizes } = await run(
      5_000,
      (n) => n === 4_000,
      async ({ db }) => (await db.query('rows').first())?.n,
    );
    expect({ body, sizes }).toEqual({ body: 4_000, sizes: [1, 100, 200, 400, 800, 1_000, 1_000, 1_000] });
  });

  it('ends pages at visible rows, and knows whether another follows', async () => {
    const isEven = (n: number) => n % 2 === 0;
    const page = async (total: number, cursor: string | null) =>
      (await run(total, isEven, ({ db }) => db.query('rows').paginate({ cursor, numItems: 3 }))).body as {
        page: { n: number }[];
      };
    expect(await page(9, null)).toMatchObject({
      page: [{ n: 2 }, { n: 4 }, { n: 6 }],
      isDone: false,
      continueCursor: '6',
    });
    expect(await page(7, null)).toMatchObject({
      page: [{ n: 2 }, { n: 4 }, { n: 6 }],
      isDone: true,
      continueCursor: '6',
    });
    expect(await page(9, '6')).toMatchObject({ page: [{ n: 8 }], isDone: true, continueCursor: '8' });
    expect(await page(9, '8')).toMatchObject({ page: [], isDone: true, continueCursor: '8' });
  });

  it('splits a page that has grown between visible rows', async () => {
    const options = { cursor: null, endCursor: '40', numItems: 2 };
    const { body } = await run(
      50,
      (n) => n % 5 === 0,
      ({ db }) => db.query('rows').paginate(options),
    );
    expect(body).toMatchObject({ isDone: false, continueCursor: '40', splitCursor: '20' });
  });
});
