/**
 * Lists that are loaded in pages, against the real engine: random inserts, deletes, moves from page to page and cut
 * connections, compared with a fresh query.
 */
import { type ConvoyClient, paginatedQuery, type ResultOfRef } from '@avvos/convoy/client';
import { afterEach, expect, test } from 'vitest';
import { serve } from './app.js';
import { api, cuttingProxy, functions, recordingPages, schema } from './live-pages.js';
import { LONG, Random } from './model/random.js';
import { withSeeds } from './model/seeds.js';

const STEPS = LONG ? 10_000 : 800;
const MAX_ROWS = 60;

const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function served() {
  const app = await serve({ schema, functions } as never);
  closing.push(() => app.close());
  return app;
}

type Order = 'asc' | 'desc';
type Row = ResultOfRef<typeof api.all>[number];

/** Loads a list in pages of `size`. Each state on display is checked; `until` waits for one. */
function watchPages(client: ConvoyClient, order: Order, size: number) {
  let onChange = () => {};
  const recorded = recordingPages(client, () => onChange());
  const query = paginatedQuery(recorded.client, api.page, { order }, { initialNumItems: size });
  let failure: Error | null = null;
  let states = 0;
  /** The last row of the loaded range when the list was compared last. */
  let loadedTo: Row | null = null;
  const compare = (a: Row, b: Row) =>
    (a.n - b.n || a._creationTime - b._creationTime || (a.id < b.id ? -1 : Number(a.id > b.id))) *
    (order === 'asc' ? 1 : -1);

  const check = () => {
    const { results, status } = query.getSnapshot();
    states += 1;
    // The loaded range has no end then, and ends again where a page more is full.
    if (status === 'Exhausted') loadedTo = null;
    const shown = JSON.stringify(results.map(({ id, n }) => [id, n]));
    if (new Set(results.map(({ id }) => id)).size < results.length) failure ??= new Error(`twice: ${shown}`);
    const isOrdered = results.every((row, at) => at === 0 || compare(results[at - 1] as Row, row) < 0);
    if (!isOrdered) failure ??= new Error(`out of order: ${shown}`);
    onChange();
  };
  closing.push(query.subscribe(check));
  return {
    query,
    counts: recorded.counts,
    states: () => states,
    /** The number of these rows, which are in order, that have to be on display. */
    required: (rows: readonly Row[]) => rows.filter((row) => loadedTo !== null && compare(row, loadedTo) <= 0).length,
    compared: () => {
      const { results, status } = query.getSnapshot();
      loadedTo = status === 'Exhausted' ? null : (results.at(-1) ?? null);
    },
    /** The time limit only turns a hang into a failure that says what is on display. */
    async until(matches: () => boolean, expected: () => unknown): Promise<void> {
      const limit = setTimeout(() => {
        const [wanted, shown] = [expected(), query.getSnapshot()].map((value) => JSON.stringify(value));
        failure ??= new Error(`expected ${wanted}\nshown ${shown}\n${recorded.describe()}`);
        onChange();
      }, 60_000);
      for (;;) {
        if (failure !== null) throw failure;
        if (matches()) break;
        await new Promise<void>((resolve) => {
          onChange = resolve;
        });
      }
      clearTimeout(limit);
    },
  };
}

test('a list in pages has no gap and no duplicate', { timeout: 1_200_000 }, async () => {
  await withSeeds('live-pages', async (seed) => {
    const random = new Random(seed);
    const app = await served();
    const proxy = await cuttingProxy(app.baseUrl);
    closing.push(() => proxy.close());
    const client = app.another({ baseUrl: proxy.baseUrl });
    const lists = (['asc', 'desc'] as const).map((order) => ({ order, ...watchPages(client, order, 5) }));
    const done = { insert: 0, remove: 0, move: 0, cut: 0, more: 0, comparisons: 0 };
    const numbers = new Map<string, number>();
    const atOnce = new Set<Promise<unknown>>();

    const write = {
      insert() {
        const start = random.below(1_000);
        // Often many at one place, so that a page outgrows its size.
        const spread = random.chance(0.5) ? 5 : 1_000;
        const inserted = Array.from({ length: 1 + random.below(8) }, () => start + random.below(spread));
        return app.convoy.mutation(api.insert, { numbers: inserted }).then((ids) => {
          for (const [at, id] of ids.entries()) numbers.set(id, inserted[at] as number);
        });
      },
      remove() {
        // Adjacent rows, so that a page shrinks.
        const ids = [...numbers].sort(([, a], [, b]) => a - b).map(([id]) => id);
        const at = random.below(ids.length + 1);
        const removed = ids.slice(at, at + 1 + random.below(8));
        for (const id of removed) numbers.delete(id);
        return app.convoy.mutation(api.remove, { ids: removed });
      },
      async move() {
        const id = [...numbers.keys()][random.below(numbers.size)];
        const n = random.below(1_000);
        if (id === undefined) return;
        numbers.set(id, n);
        await app.convoy.mutation(api.move, { id, n });
      },
      cut: async () => proxy.cut(),
      more: async () => random.pick(lists).query.loadMore(1 + random.below(8)),
    };

    for (let step = 0; step < STEPS; step += 1) {
      const isShort = numbers.size < 20;
      const action = random.weighted({
        insert: numbers.size > MAX_ROWS ? 0 : isShort ? 30 : 10,
        remove: isShort ? 3 : 12,
        move: 20,
        more: 5,
        cut: 0.3,
      });
      done[action] += 1;
      atOnce.add(write[action]());
      // Some writes one by one, so that their effects arrive in between, and some at once.
      if (random.chance(0.5)) await Promise.all(atOnce);
      if (random.chance(0.8)) continue;
      await Promise.all(atOnce);
      atOnce.clear();
      done.comparisons += 1;
      for (const { order, query, until, required, compared } of lists) {
        const fresh = await app.convoy.query(api.all, { order });
        const expected = () => {
          const { results, status } = query.getSnapshot();
          return fresh.slice(0, status === 'Exhausted' ? fresh.length : Math.max(required(fresh), results.length));
        };
        const isExpected = () => {
          const { results, error } = query.getSnapshot();
          return error === null && JSON.stringify(results) === JSON.stringify(expected());
        };
        await until(isExpected, expected);
        compared();
      }
    }
    console.log(`${STEPS} steps`, JSON.stringify(done));
    for (const { order, counts, states } of lists) console.log(`${order}: ${states()} states`, JSON.stringify(counts));
    for (const { counts } of lists) expect(Math.min(counts.splits, counts.merges)).toBeGreaterThan(0);
  });
});

const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);

test('a page that outgrows its size is split, one that shrinks is merged, and the list changes at once', async () => {
  const app = await served();
  const ids = await app.convoy.mutation(api.insert, { numbers: upTo(30).map((n) => n * 100) });
  const { query, counts, until } = watchPages(app.client, 'asc', 5);
  const lengths: number[] = [];
  closing.push(query.subscribe(() => lengths.push(query.getSnapshot().results.length)));
  const shows = (length: number) =>
    until(
      () => query.getSnapshot().results.length === length && !query.getSnapshot().isLoading,
      () => length,
    );
  await shows(5);
  query.loadMore(5);
  await shows(10);
  expect(counts).toEqual({ requests: 2, pinned: 0, splits: 0, merges: 0 });

  await app.convoy.mutation(api.insert, { numbers: [1, 2, 3, 4, 5, 6] });
  await shows(16);
  await until(
    () => counts.splits > 0,
    () => 'a split',
  );
  await app.convoy.mutation(api.remove, { ids: ids.slice(5, 9) });
  await shows(12);
  await until(
    () => counts.merges > 0,
    () => 'a merge',
  );
  // Every later change is on display in the pages that have replaced the others.
  await app.convoy.mutation(api.insert, { numbers: [7, 850] });
  await shows(14);
  expect(query.getSnapshot().results.map(({ n }) => n)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 100, 200, 300, 400, 850, 900]);
  expect([...new Set(lengths)].filter((length) => ![0, 5, 10, 16, 12, 13, 14].includes(length))).toEqual([]);
});

test('a page of a query with a sparse filter is one request', async () => {
  const app = await served();
  const numbers = upTo(2_000).map((n) => (n % 100 === 0 ? n : 2 * Math.floor(n / 2) + 1));
  await app.convoy.mutation(api.insert, { numbers });
  const { client, counts } = recordingPages(app.client, () => {});
  const query = paginatedQuery(client, api.evenPage, {}, { initialNumItems: 8 });
  let onChange = () => {};
  closing.push(query.subscribe(() => onChange()));
  const shown = async (count: number): Promise<void> => {
    while (query.getSnapshot().results.length < count) {
      await new Promise<void>((resolve) => {
        onChange = resolve;
      });
    }
  };
  await shown(8);
  query.loadMore(8);
  await shown(16);
  query.loadMore(8);
  await shown(20);
  expect(query.getSnapshot()).toMatchObject({ status: 'Exhausted', error: null });
  expect(counts.requests).toBe(3);
});

test('an optimistic row stays on display until the page that contains it does', async () => {
  const app = await served();
  await app.convoy.mutation(api.insert, { numbers: upTo(30).map((n) => n * 100) });
  const { query, until } = watchPages(app.client, 'asc', 5);
  await until(
    () => query.getSnapshot().results.length === 5,
    () => 5,
  );
  const shown: string[] = [];
  closing.push(
    query.subscribe(() =>
      shown.push(
        query
          .getSnapshot()
          .results.map(({ n }) => n)
          .join(),
      ),
    ),
  );
  for (const n of [50, 60, 70]) {
    await app.client.mutation(
      api.insert,
      { numbers: [n] },
      {
        optimistic: (store, { numbers: [n = 0] }) => {
          for (const { args, value } of store.all(api.page)) {
            const row = { id: store.tempId('rows'), n, isEven: true, _creationTime: 0 };
            const page = [...value.page, row].sort((a, b) => a.n - b.n);
            if (args.paginationOpts.cursor === null)
              store.set(api.page, args, { ...value, page: page as typeof value.page });
          }
        },
      },
    );
  }
  const final = '0,50,60,70,100,200,300,400';
  await until(
    () => shown.at(-1) === final && query.getSnapshot().results.every(({ _creationTime }) => _creationTime > 0),
    () => final,
  );
  expect([...new Set(shown)]).toEqual(['0,50,100,200,300,400', '0,50,60,100,200,300,400', final]);
});
