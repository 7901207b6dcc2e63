import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import type { Script } from '../../testing/scripted-engine.js';
import { defineSchema, defineTable } from '../schema/index.js';
import { caller } from './call.test-kit.js';
import type { DbFromSchema } from './database.js';

const schema = defineSchema({
  tasks: defineTable({ list: z.string(), done: z.boolean(), rank: z.number() }).index('by_list', [
    'list',
    'done',
    'rank',
  ]),
});
type Db = DbFromSchema<typeof schema>;

const warn = vi.fn();
beforeEach(() => {
  vi.spyOn(console, 'warn').mockImplementation(warn);
});
afterEach(() => {
  vi.restoreAllMocks();
  warn.mockReset();
});

const emptyResults: Script = (op) => ({ ok: op.op === 'page' ? { page: [], isDone: true, continueCursor: '' } : [] });

/** The warnings of a query in development. */
async function warnings(query: (db: Db) => unknown, dev = true): Promise<string[]> {
  const { error } = await caller(schema)(query, { kind: 'query', dev, script: emptyResults });
  expect(error).toBeUndefined();
  return warn.mock.calls.map(([message]) => String(message));
}

describe('a step whose result is discarded', () => {
  it.each<[string, (db: Db) => unknown]>([
    [
      'limit',
      async (db) => {
        const q = db.query('tasks');
        q.limit(5);
        await q.collect();
      },
    ],
    [
      'order',
      async (db) => {
        const q = db.query('tasks').withIndex('by_list');
        q.order('desc');
        await q.limit(3).collect();
      },
    ],
    [
      'filter',
      async (db) => {
        const q = db.query('tasks');
        if (q) q.filter((f) => f.eq(f.field('done'), true));
        for await (const _ of q) break;
      },
    ],
  ])('is named in a warning: %s', async (step, query) => {
    expect(await warnings(query)).toEqual([
      `convoy: things.do: the result of .${step}() was discarded, so it had no effect on the query of tasks. ` +
        `Steps return a new query: q = q.${step}(…).`,
    ]);
  });

  it('is not reported in production', async () => {
    const query = async (db: Db): Promise<void> => {
      const q = db.query('tasks');
      q.limit(5);
      await q.withIndex('by_list', (range) => range.eq('done', true)).collect();
    };
    expect(await warnings(query, false)).toEqual([]);
  });

  it.each<[string, (db: Db) => unknown]>([
    ['steps that are assigned', (db) => db.query('tasks').order('desc').limit(5).take(3)],
    [
      'one query run in several ways, in any order',
      async (db) => {
        const all = db.query('tasks');
        const some = all.limit(5);
        await all.collect();
        await some.first();
        await all.offset(1).count();
      },
    ],
    ['a query that is built and never run', (db) => void db.query('tasks').limit(5)],
  ])('is not reported for %s', async (_, query) => {
    expect(await warnings(query)).toEqual([]);
  });
});

it('an equality that does not narrow the index range is reported once', async () => {
  const query = async (db: Db): Promise<void> => {
    for (let times = 0; times < 3; times++) {
      await db
        .query('tasks')
        .withIndex('by_list', (q) => q.eq('list', 'x').eq('rank', 1))
        .collect();
    }
  };
  expect(await warnings(query)).toEqual([
    "convoy: things.do: tasks.by_list: eq('rank') has no eq('done') before it, so it does not narrow " +
      'the range of the index; every document of the range is read and then filtered.',
  ]);
});

describe('a key that is not in the schema', () => {
  const task = { list: 'a', done: false, rank: 1 };

  /** The warnings of writes in development. */
  async function ofWrites(write: (db: Db) => unknown, dev = true): Promise<string[]> {
    const script: Script = (op) => ({ ok: op.op === 'get' ? { id: ID, _creationTime: 1, ...task } : null });
    const { error } = await caller(schema)(write, { kind: 'mutation', dev, script });
    expect(error).toBeUndefined();
    return warn.mock.calls.map(([message]) => String(message));
  }
  const ID = 'tasks:01890c5e-0000-7000-8000-000000000000' as never;
  const odd = { ...task, rnak: 2 } as never;

  it.each<[string, (db: Db) => unknown]>([
    ['insert', (db) => db.insert('tasks', odd)],
    ['insertMany', (db) => db.insertMany('tasks', [task, odd, odd])],
    ['replace', (db) => db.replace(ID, odd)],
    ['patch', (db) => db.patch(ID, { rnak: 2 } as never)],
  ])('is reported once for %s', async (_method, write) => {
    const given = await ofWrites(async (db) => {
      await write(db);
      await write(db);
    });
    expect(given).toEqual([expect.stringContaining('`rnak` is not in the schema of tasks, so it is not stored')]);
  });

  it('is not reported for documents that fit, nor in production', async () => {
    expect(await ofWrites((db) => db.insert('tasks', task))).toEqual([]);
    expect(await ofWrites((db) => db.replace(ID, { ...task, id: ID } as never))).toEqual([]);
    expect(await ofWrites((db) => db.insert('tasks', odd), false)).toEqual([]);
  });
});
