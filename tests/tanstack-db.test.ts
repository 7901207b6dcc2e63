/** Collections of TanStack DB on a real Convoy server: joins, mutations without flicker, windows of ordered rows. */
import type { Id } from '@avvos/convoy';
import type { ConvoyClient } from '@avvos/convoy/client';
import { convoyCollectionOptions, tempId } from '@avvos/convoy/tanstack-db';
import { createCollection, createLiveQueryCollection, eq, gte } from '@tanstack/db';
import { afterEach, expect, test, vi } from 'vitest';
import { api, serve } from './app.js';
import { Random } from './model/random.js';
import { withSeeds } from './model/seeds.js';
import * as rows from './tanstack-db-rows.js';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function served(...args: Parameters<typeof serve>) {
  const app = await serve(...args);
  closing.push(() => app.close());
  return app;
}

function owned<Each extends { cleanup(): Promise<void> }>(collection: Each): Each {
  closing.push(() => collection.cleanup());
  return collection;
}

function messagesOf(client: ConvoyClient, channelId: Id<'channels'>, until: 'shown' | 'committed' = 'shown') {
  return owned(
    createCollection(
      convoyCollectionOptions({
        query: api.messages.list,
        args: { channelId },
        client,
        onInsert: async ({ transaction }) => {
          for (const { modified } of transaction.mutations) {
            const { id, channelId, body } = modified;
            await client.mutation(api.messages.send, { channelId, body }, { tempIds: [id], await: until });
          }
        },
        onUpdate: async ({ transaction }) => {
          for (const { key } of transaction.mutations) await client.mutation(api.messages.like, { id: key });
        },
      }),
    ),
  );
}

/** What a collection displays after each change. */
function displayed<Value>(
  collection: ReturnType<typeof messagesOf>,
  columnOf: (row: (typeof collection.toArray)[number]) => Value,
): Value[][] {
  const states: Value[][] = [];
  const record = (changes: readonly unknown[]) => changes.length > 0 && states.push(collection.toArray.map(columnOf));
  const subscription = collection.subscribeChanges(record);
  closing.push(async () => subscription.unsubscribe());
  return states;
}

const draft = (channelId: Id<'channels'>, body: string) => ({
  id: tempId('messages'),
  channelId,
  body,
  likes: 0,
  _creationTime: 0,
});

test('a join of two queries follows changes of both', async () => {
  const { client, another } = await served({ schema: rows.schema, functions: rows.functions } as never);
  const users = owned(rows.rowsOf(client, 'users', 'eager'));
  const posts = owned(rows.rowsOf(client, 'posts', 'eager'));
  const joined = owned(
    createLiveQueryCollection((q) =>
      q
        .from({ post: posts })
        .innerJoin({ user: users }, ({ post, user }) => eq(post.userId, user.id))
        .select(({ post, user }) => ({ title: post.title, name: user.name })),
    ),
  );
  await joined.preload();
  const others = another();
  const insert = (kind: string, row: rows.Row) => others.mutation(rows.api.insert, { kind, rows: [rows.encoded(row)] });
  const seen = () => joined.toArray.map(({ title, name }) => `${title} by ${name}`).sort();
  await insert('posts', { id: 'p1', userId: 'u1', title: 'one' });
  await insert('users', { id: 'u1', name: 'Ada' });
  await vi.waitFor(() => expect(seen()).toEqual(['one by Ada']));
  await insert('posts', { id: 'p2', userId: 'u1', title: 'two' });
  await users.update('u1', (user) => void Object.assign(user, { name: 'Bob' })).isPersisted.promise;
  await vi.waitFor(() => expect(seen()).toEqual(['one by Bob', 'two by Bob']));
});

test.each(['shown', 'committed'] as const)(
  'a row is displayed exactly once from its insertion on, with handlers that wait until it is %s',
  async (until) => {
    const { client, another } = await served();
    const channelId = await client.mutation(api.channels.create, { name: 'general' });
    const messages = messagesOf(client, channelId, until);
    await messages.preload();
    const states = displayed(messages, ({ body }) => body);
    const others = another();
    for (let n = 0; n < 20; n++) {
      const before = states.length;
      const row = draft(channelId, `mine ${n}`);
      const sent = messages.insert(row);
      const theirs = others.mutation(api.messages.send, { channelId, body: `theirs ${n}` });
      await sent.isPersisted.promise;
      const stored = messages.toArray.find(({ body }) => body === row.body);
      expect(stored?.id).not.toBe(row.id);
      expect(client.keyOf(stored?.id ?? '')).toBe(row.id);
      for (const state of states.slice(before)) expect(state.filter((body) => body === `mine ${n}`)).toHaveLength(1);
      await theirs;
    }
    await vi.waitFor(() => expect(messages.size).toBe(40));
  },
);

test('an updated row never shows its old value again', async () => {
  const { client } = await served();
  const channelId = await client.mutation(api.channels.create, { name: 'general' });
  const id = await client.mutation(api.messages.send, { channelId, body: 'hello' });
  const messages = messagesOf(client, channelId);
  await messages.preload();
  const states = displayed(messages, ({ likes }) => likes);
  for (let n = 1; n <= 20; n++) {
    await messages.update(id, (message) => void Object.assign(message, { likes: n })).isPersisted.promise;
  }
  const likes = states.flat();
  expect(likes).toEqual([...likes].sort((a, b) => a - b));
  expect(likes.at(-1)).toBe(20);
});

test('a mutation that the server refuses takes its row back', async () => {
  const { client } = await served();
  const channelId = await client.mutation(api.channels.create, { name: 'general' });
  const messages = messagesOf(client, channelId);
  await messages.preload();
  const states = displayed(messages, ({ body }) => body.length);
  const sent = messages.insert(draft(channelId, 'x'.repeat(2_001)));
  await expect(sent.isPersisted.promise).rejects.toMatchObject({ code: 'INVALID_ARGS' });
  expect(states).toEqual([[2_001], []]);
});

test('a window of ordered rows stays the same as on the server, wherever rows come, go and move', async () => {
  await withSeeds('tanstack-db-window', async (seed) => {
    const random = new Random(seed);
    const { client, another } = await served({ schema: rows.schema, functions: rows.functions } as never);
    const all = new Map<string, number>();
    const put = (id: string, n: number) => {
      all.set(id, n);
      return rows.encoded({ id, n });
    };
    const kind = 'numbers';
    const first = Array.from({ length: 60 }, (_, index) => put(`r${index}`, random.below(30)));
    await client.mutation(rows.api.insert, { kind, rows: first });
    const numbers = owned(rows.rowsOf(client, kind, 'on-demand'));
    const window = owned(
      createLiveQueryCollection((q) =>
        q
          .from({ row: numbers })
          .where(({ row }) => gte(row.n, 5))
          .orderBy(({ row }) => row.n)
          .limit(10),
      ),
    );
    await window.preload();
    const others = another();
    for (let step = 0; step < 40; step++) {
      const known = [...all.keys()];
      const id = known[random.below(known.length)] ?? '';
      const action = random.below(4);
      if (action === 0) await others.mutation(rows.api.insert, { kind, rows: [put(`s${step}`, random.below(30))] });
      else if (action === 1) await others.mutation(rows.api.replace, { kind, row: put(id, random.below(30)) });
      else if (action === 2) {
        all.delete(id);
        await others.mutation(rows.api.remove, { kind, key: id });
      }
      const offset = 5 * random.below(5);
      if (action === 3) await window.utils.setWindow({ offset, limit: 10 });
      const shown = window.utils.getWindow() ?? { offset: 0, limit: 10 };
      const expected = [...all.values()].filter((n) => n >= 5).sort((a, b) => a - b);
      await vi.waitFor(() =>
        expect(window.toArray.map(({ n }) => n)).toEqual(expected.slice(shown.offset, shown.offset + shown.limit)),
      );
    }
  });
});

test('a window over several pages has the rows that leave one page and are in no other', async () => {
  const { client, another } = await served({ schema: rows.schema, functions: rows.functions } as never);
  const kind = 'numbers';
  const rowsFrom = (...numbers: number[]) => numbers.map((n) => rows.encoded({ id: `r${n}`, n }));
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);
  await client.mutation(rows.api.insert, { kind, rows: rowsFrom(...range(100, 140)) });
  const numbers = owned(rows.rowsOf(client, kind, 'on-demand'));
  const window = owned(
    createLiveQueryCollection((q) =>
      q
        .from({ row: numbers })
        .orderBy(({ row }) => row.n)
        .limit(10),
    ),
  );
  await window.preload();
  await window.utils.setWindow({ offset: 10, limit: 10 });
  const shown = () => window.toArray.map(({ n }) => n);
  expect(shown()).toEqual(range(110, 120));
  await another().mutation(rows.api.insert, { kind, rows: rowsFrom(1, 2, 3) });
  await vi.waitFor(() => expect(shown()).toEqual(range(107, 117)));
});
