/**
 * Random changes of a list that is loaded in pages, with results that arrive one by one and in any order. At no time is
 * there a row twice or out of order; when all results have arrived, the list is a prefix of the server's.
 */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { compareRows, type ListRow, ListServer } from '../../testing/list-server.js';
import { seededRandom } from '../../testing/model-server.js';
import type { PageResult, PaginationOptions } from '../protocol/pages.js';
import { makeQueryRef } from '../protocol/refs.js';
import { createConvoyClient } from './client.js';
import { paginatedQuery } from './paginated-query.js';

const list = makeQueryRef<{ paginationOpts: PaginationOptions }, PageResult<ListRow>>('rows.list');
const STEPS = process.env.CONVOY_TEST_LONG === '1' ? 20_000 : 3_000;
const MAX_ROWS = 60;

// Subscriptions outlive their last listener for a time; here it passes whenever all results have arrived.
beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test.each([1, 2, 3, 4, 5])('a list in pages has no gap and no duplicate, seed %i', async (seed) => {
  const below = seededRandom(seed);
  const server = new ListServer();
  const client = createConvoyClient({ transport: server.transport });
  const query = paginatedQuery(client, list, {}, { initialNumItems: 4 });
  let stop = query.subscribe(check);
  let nextId = 0;
  let mostPages = 0;
  let loadedTo: ListRow | null = null;

  function check(): void {
    const { results, status } = query.getSnapshot();
    // The loaded range has no end then, and ends again where a page more is full.
    if (status === 'Exhausted') loadedTo = null;
    const ids = new Set(results.map(({ id }) => id));
    if (ids.size !== results.length) throw new Error(`twice in ${JSON.stringify(results)}`);
    const unordered = results.findIndex((row, at) => at > 0 && compareRows(results[at - 1] as ListRow, row) >= 0);
    if (unordered >= 0) throw new Error(`out of order at ${unordered}: ${JSON.stringify(results)}`);
  }

  function change(): void {
    const rows = [...server.rows];
    const position = () => below(1_000);
    const at = below(rows.length + 1);
    const grows = rows.length < MAX_ROWS && below(2) === 0;
    if (grows) {
      const n = position();
      for (let count = 1 + below(6); count > 0; count -= 1) rows.push({ id: `r${nextId++}`, n: n + below(20) });
    } else if (below(2) === 0) rows.splice(at, 1 + below(6));
    else if (rows[at] !== undefined) rows[at] = { id: rows[at].id, n: position() };
    server.rows = rows;
  }

  async function notified(): Promise<void> {
    for (let turn = 0; turn < 4; turn += 1) await Promise.resolve();
  }

  /** Delivers everything until no page is requested any more. Returns the rounds that this took. */
  async function quiet(): Promise<void> {
    for (let rounds = 0, before = -1; before !== server.transport.subscriptions.length; rounds += 1) {
      expect(rounds, 'rounds of requests without a change').toBeLessThan(12);
      before = server.transport.subscriptions.length;
      server.deliver();
      await notified();
      check();
    }
  }

  for (let step = 0; step < STEPS; step += 1) {
    const action = below(10);
    if (action < 6) change();
    else if (action === 6) query.loadMore(1 + below(8));
    else if (action === 7 && below(10) === 0) {
      stop();
      change();
      stop = query.subscribe(check);
    } else server.deliver(() => below(2) === 0);
    await notified();
    check();
    if (below(5) > 0) continue;
    await quiet();
    vi.runAllTimers();
    const { results, status, isLoading } = query.getSnapshot();
    expect(isLoading).toBe(false);
    expect(results, `step ${step}`).toEqual(server.rows.slice(0, results.length));
    if (status === 'Exhausted') expect(results).toHaveLength(server.rows.length);
    // A range that is loaded stays loaded, however its rows change.
    const inRange = server.rows.filter((row) => loadedTo !== null && compareRows(row, loadedTo) <= 0);
    expect(results.length, `step ${step}`).toBeGreaterThanOrEqual(inRange.length);
    loadedTo = status === 'CanLoadMore' ? (results.at(-1) ?? null) : null;
    mostPages = Math.max(mostPages, server.pages.length);
  }
  const requests = server.transport.subscriptions.length;
  console.log(`seed ${seed}: ${STEPS} steps, ${requests} requests, at most ${mostPages} pages`);
  expect(mostPages).toBeGreaterThan(5);
  stop();
  client.close();
});
