import { afterEach, describe, expect, it, vi } from 'vitest';
import * as z from 'zod';
import { hostOf, type Script, uuid } from '../../testing/scripted-engine.js';
import { type DataModelOf, defineSchema, defineTable } from '../schema/index.js';
import { sql } from '../sql/index.js';
import type { Id } from '../values/ids.js';
import { caller } from './call.test-kit.js';
import type { BaseContext } from './contexts.js';
import { createFunctionHelpers } from './functions.js';

const schema = defineSchema({
  posts: defineTable({
    title: z.string().trim(),
    likes: z.number().max(10).default(3),
    meta: z.object({ views: z.int().default(7), deep: z.object({ n: z.number() }) }).optional(),
    pinned: z.boolean().optional(),
  }),
  users: defineTable({ name: z.string(), age: z.number().optional() }),
  shapes: defineTable(
    z.discriminatedUnion('kind', [
      z.object({ kind: z.literal('circle'), size: z.number().default(1) }),
      z.object({ kind: z.literal('square'), size: z.number().default(2) }),
    ]),
  ),
});
const run = caller(schema);
const POST = `posts:${uuid(1)}` as Id<'posts'>;
const OTHER = `posts:${uuid(2)}` as Id<'posts'>;
const USER = `users:${uuid(3)}` as Id<'users'>;
const SHAPE = `shapes:${uuid(4)}` as Id<'shapes'>;

const POST_FOUND = { title: 'old', likes: 4, name: 'legacy' };

const stored: Script = (op) => {
  const id = 'table' in op && 'id' in op ? { id: `${op.table}:${op.id}`, _creationTime: 5 } : {};
  switch (op.op) {
    case 'get':
      return { ok: op.table === 'shapes' ? { ...id, kind: 'square' } : { ...id, ...POST_FOUND } };
    case 'patch':
      return { ok: { ...id, ...POST_FOUND, ...op.set } };
    case 'replace':
      return { ok: { ...id, ...op.doc } };
    case 'increment':
      return { ok: { ...id, ...POST_FOUND, [op.field]: op.base + op.by } };
    case 'delete':
      return { ok: op.id !== uuid(9) };
    case 'raw':
      return { ok: [{ n: '1' }] };
    default:
      return { ok: null };
  }
};
const scripted = { script: stored };

const unhandled = vi.fn();
process.on('unhandledRejection', unhandled);
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).not.toHaveBeenCalled();
});

/** An `INVALID_ARGS` error whose message matches. */
const refusal = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'INVALID_ARGS', message: expect.stringMatching(message) });

describe('replace', () => {
  it('stores the parsed document in place of the old one, without reading it', async () => {
    const { result, ops } = await run(async (db) => {
      return [await db.replace(POST, { title: ' new ' }), await db.replace('posts', OTHER, { title: 'b', likes: 1 })];
    }, scripted);
    expect(ops).toEqual([
      { op: 'replace', table: 'posts', id: uuid(1), doc: { title: 'new', likes: 3 } },
      { op: 'replace', table: 'posts', id: uuid(2), doc: { title: 'b', likes: 1 } },
    ]);
    expect(result).toMatchObject([
      { id: POST, title: 'new' },
      { id: OTHER, likes: 1 },
    ]);
  });

  it('accepts the unchanged id and creation time, but not others', async () => {
    const back = await run(async (db) => {
      const post = await db.get(POST);
      return post && db.replace(POST, { ...post, title: 'x' });
    }, scripted);
    expect(back.ops).toMatchObject([{ op: 'get' }, { op: 'replace', doc: { title: 'x', likes: 4 } }]);
    expect(back.ops[1]).not.toHaveProperty('doc.id');
    const unread = await run((db) => db.replace(POST, { title: 'x', _creationTime: 5 }), scripted);
    expect(unread.names).toEqual([['get'], ['replace']]);
    for (const changed of [{ id: OTHER }, { _creationTime: 6 }]) {
      const { error, ops } = await run((db) => db.replace(POST, { title: 'x', ...changed }), scripted);
      expect(error).toEqual(refusal(/is set when a document is created/));
      expect(ops.some(({ op }) => op === 'replace')).toBe(false);
    }
  });

  it('of a missing document is null', async () => {
    const { result } = await run((db) => db.replace(POST, { title: 'x', _creationTime: 1 }));
    expect(result).toBeNull();
    expect((await run((db) => db.replace(POST, { title: 'x' }))).result).toBeNull();
  });

  it('rejects a document that does not fit, and an id of another table', async () => {
    expect((await run((db) => db.replace(POST, { title: 7 as never }))).error).toEqual(refusal(/does not fit posts/));
    expect((await run((db) => db.replace('posts', USER as never, { title: 'x' }))).error).toEqual(
      refusal(/An id of posts is needed, not one of users/),
    );
    const alone = await run((db) => (db as unknown as { replace(id: unknown): Promise<unknown> }).replace(POST));
    expect(alone.error).toEqual(refusal(/replace\(\) takes an id and the new document/));
  });
});

describe('insertMany and deleteMany', () => {
  it('send no operation for an empty list', async () => {
    const { result, ops } = await run((db) => db.insertMany('posts', []));
    expect(result).toEqual([]);
    expect(ops).toEqual([]);
  });

  it('delete each document once, in one batch, and count those that existed', async () => {
    const GONE = `posts:${uuid(9)}` as Id<'posts'>;
    const { result, names, ops } = await run(
      (db) => db.deleteMany('posts', [POST, OTHER, POST, GONE, uuid(1).toUpperCase() as never]),
      scripted,
    );
    expect(result).toBe(2);
    expect(names).toEqual([['delete', 'delete', 'delete']]);
    expect(ops).toMatchObject([{ id: uuid(1) }, { id: uuid(2) }, { id: uuid(9) }]);
    expect((await run((db) => db.deleteMany('posts', []))).result).toBe(0);
  });

  it('reject invalid ids before the first document is deleted', async () => {
    const mixed = await run((db) => db.deleteMany('posts', [POST, USER as never]), scripted);
    expect(mixed.error).toEqual(refusal(/An id of posts is needed, not one of users/));
    expect(mixed.ops).toEqual([]);
    expect((await run((db) => db.deleteMany('posts', POST as never))).error).toEqual(refusal(/takes an array/));
    expect((await run((db) => db.deleteMany('constructor' as never, []))).error).toEqual(
      refusal(/There is no table 'constructor'; the tables are posts, users, shapes/),
    );
    const hole = await run((db) => db.deleteMany('posts', new Array(1)));
    expect(hole.error).toEqual(refusal(/An id of posts is needed, not undefined/));
  });

  it('wait for a pending write to any of the documents', async () => {
    const { names } = await run(
      (db) => Promise.all([db.patch(OTHER, { likes: 1 }), db.deleteMany('posts', [POST, OTHER])]),
      scripted,
    );
    expect(names).toEqual([['get'], ['patch'], ['delete', 'delete']]);
  });
});

describe('increment', () => {
  it('is one operation with the value of a missing field', async () => {
    const { ops, result } = await run(async (db) => {
      await db.increment(POST, 'likes', 2);
      await db.increment('users', USER, 'age', -1);
      await db.increment(POST, 'meta.views', 1);
      return db.increment(POST, 'meta.deep.n', 0.5);
    }, scripted);
    expect(ops).toEqual([
      { op: 'increment', table: 'posts', id: uuid(1), field: 'likes', by: 2, base: 3 },
      { op: 'increment', table: 'users', id: uuid(3), field: 'age', by: -1, base: 0 },
      { op: 'increment', table: 'posts', id: uuid(1), field: 'meta.views', by: 1, base: 7 },
      { op: 'increment', table: 'posts', id: uuid(1), field: 'meta.deep.n', by: 0.5, base: 0 },
    ]);
    expect(result).toMatchObject({ id: POST });
  });

  it('reads the document if the default depends on its shape', async () => {
    const { names, ops } = await run((db) => db.increment(SHAPE, 'size', 1), {
      script: (op) => (op.op === 'increment' ? { ok: { id: SHAPE, kind: 'square', size: 3 } } : stored(op)),
    });
    expect(names).toEqual([['get'], ['increment']]);
    expect(ops[1]).toMatchObject({ base: 2 });
  });

  it('whose result does not fit fails the mutation, even if its error is handled', async () => {
    const swallowed = await run(async (db) => {
      await db.increment(POST, 'likes', 20).catch(() => {});
      return 'fine';
    }, scripted);
    expect(swallowed.error).toEqual(refusal(/does not fit posts at likes/));
  });

  it('whose result does not fit can be rolled back by an enclosing transaction', async () => {
    const { result, error, names } = await run(async (db) => {
      return db
        .transaction(async (tx) => {
          await tx.increment(POST, 'likes', 20).catch(() => {});
          return 'kept';
        })
        .catch((reason: Error) => reason.message);
    }, scripted);
    expect(error).toBeUndefined();
    expect(result).toMatch(/does not fit posts at likes/);
    expect(names).toEqual([['savepoint 1', 'increment'], ['rollback to 1']]);
  });

  it('runs in a transaction if there is none, so that it can be rolled back', async () => {
    const { error, names } = await run((db) => db.increment(POST, 'likes', 20), { ...scripted, kind: 'action' });
    expect(error).toEqual(refusal(/does not fit posts at likes/));
    expect(names).toEqual([['begin'], ['increment'], ['rollback']]);
  });

  it('of a missing document is null', async () => {
    expect((await run((db) => db.increment(POST, 'likes', 1))).result).toBeNull();
  });

  it.each<[unknown, unknown, RegExp]>([
    ['title', 1, /'title' is not a number field that can be written; numbers of posts are likes/],
    ['_creationTime', 1, /'_creationTime' is not a number field/],
    ['meta', 1, /'meta' is not a number field/],
    ['nope', 1, /posts has no field 'nope'; its fields are title, likes, meta, pinned, id, _creationTime/],
    ['constructor', 1, /posts has no field 'constructor'/],
    ['__proto__', 1, /posts has no field '__proto__'/],
    ['meta.toString', 1, /posts has no field 'meta.toString'/],
    ['meta.deep.n.x', 1, /'meta.deep.n.x' is nested too deeply/],
    ['.'.repeat(100), 1, /^increment\(\): "\.{79}… is nested too deeply/],
    [undefined, 1, /takes the name of a field of posts, not undefined/],
    ['likes', Number.NaN, /adds a finite number, not NaN/],
    ['likes', '1', /adds a finite number, not a string/],
    ['likes', undefined, /adds a finite number, not undefined/],
  ])('rejects %j by %j', async (field, by, message) => {
    const { error, ops } = await run((db) => db.increment(POST, field as never, by as number), scripted);
    expect(error).toEqual(refusal(message));
    expect(ops).toEqual([]);
  });
});

describe('the order of operations on one document', () => {
  it('is that in which they were issued, with reads after writes', async () => {
    const { names, result } = await run(
      (db) =>
        Promise.all([
          db.get(POST),
          db.patch(POST, { likes: 1 }),
          db.get(POST),
          db.replace(POST, { title: 'r' }),
          db.increment(POST, 'likes', 1),
          db.delete(POST),
        ]),
      scripted,
    );
    expect(names).toEqual([['get', 'get'], ['patch'], ['get', 'replace'], ['increment'], ['delete']]);
    expect(result).toMatchObject([{ likes: 4 }, { likes: 1 }, {}, { title: 'r' }, { likes: 4 }, true]);
  });

  it('keeps patches of cached documents in one batch', async () => {
    const { names } = await run(async (db) => {
      await db.getMany([POST, OTHER]);
      await Promise.all([db.patch(POST, { likes: 1 }), db.patch(OTHER, { likes: 2 })]);
    }, scripted);
    expect(names).toEqual([
      ['get', 'get'],
      ['patch', 'patch'],
    ]);
  });
});

describe('an unawaited write', () => {
  it.each<[string, (db: Parameters<Parameters<typeof run>[0]>[0]) => unknown]>([
    ['rejected synchronously', (db) => void db.patch('posts:1' as never, {})],
    ['rejected after a read', (db) => void db.patch(POST, { title: 7 as never })],
    ['rejected by the engine', (db) => void db.delete(`posts:${uuid(8)}` as Id<'posts'>)],
  ])('fails its mutation, also if it failed long before the end: %s', async (_, write) => {
    const { error } = await run(
      async (db) => {
        write(db);
        await db.get(USER);
        await db.get(USER);
        await db.get(USER);
        return 'fine';
      },
      {
        script: (op) =>
          op.op === 'delete' && op.id === uuid(8) ? { error: { code: 'INVALID_ARGS', message: 'no' } } : stored(op),
      },
    );
    expect(error).toMatchObject({ code: 'INVALID_ARGS' });
  });

  it('does not fail the mutation if its failure is handled', async () => {
    const { error, result } = await run(async (db) => {
      await db.patch(POST, { title: 7 as never }).catch(() => {});
      await Promise.allSettled([db.insert('posts', {} as never)]);
      return 'fine';
    }, scripted);
    expect(error).toBeUndefined();
    expect(result).toBe('fine');
  });
});

describe('raw', () => {
  it('sends the statement, its values as text, and the tables it reads', async () => {
    const { result, ops } = await run(
      (db) => db.raw<{ n: string }>(sql`select count(*) as n from posts where likes > ${3}`, { tables: ['posts'] }),
      scripted,
    );
    expect(result).toEqual([{ n: '1' }]);
    const text = 'select count(*) as n from posts where likes > $1';
    expect(ops).toEqual([{ op: 'raw', text, values: ['3'], tables: ['posts'] }]);
    expect((await run((db) => db.raw({ text: 'select 1' }), scripted)).ops).toMatchObject([
      { values: [], tables: null },
    ]);
  });

  it('is read-only in a query, also in one called by a mutation', async () => {
    const { query, mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();
    const reading = query({ handler: (ctx) => ctx.db.raw(sql`select 1`) });
    const writing = mutation({ handler: (ctx) => ctx.runQuery(reading, {}) });
    const { call, engine } = hostOf({ schema, functions: { reading, writing } }, stored);
    expect((await call('reading')).ok).toBe(true);
    expect((await call('writing')).ok).toBe(true);
    const raw = { op: 'raw', text: 'select 1', values: [], tables: null };
    expect(engine.ops).toEqual([raw, { ...raw, readOnly: true }]);
  });

  it('clears the document cache', async () => {
    const { names } = await run(async (db) => {
      await db.get(POST);
      await db.raw(sql`update posts set data = data`);
      await db.patch(POST, { likes: 1 });
    }, scripted);
    expect(names).toEqual([['get'], ['raw'], ['get'], ['patch']]);
  });

  it.each<[unknown, unknown, RegExp]>([
    ['select 1', {}, /takes no plain string.*write sql`…`/],
    [{ text: 7 }, {}, /takes sql`…`/],
    [null, {}, /takes sql`…`/],
    [{ text: ' ' }, {}, /an empty statement/],
    [{ text: 'select $1', values: [undefined] }, {}, /the value of \$1 is undefined; pass null/],
    [{ text: 'select $1', values: 'x' }, {}, /takes sql`…`/],
    [{ text: 'select 1' }, { tables: 'posts' }, /takes the names of the tables/],
    [{ text: 'select 1' }, { tables: [1] }, /takes the names of the tables/],
    [{ text: 'select 1' }, { tables: ['\ud800'] }, /takes the names of the tables/],
    [{ text: "select '\ud800'" }, {}, /the statement contains an unpaired surrogate/],
    [{ text: "select '\0'" }, {}, /the statement contains the character \\u0000/],
  ])('rejects %j with %j', async (query, options, message) => {
    const { error, ops } = await run((db) => db.raw(query as never, options as never));
    expect(error).toEqual(refusal(message));
    expect(ops).toEqual([]);
  });
});

it('the writing methods are rejected in a query', async () => {
  const { result, ops } = await run(
    async (db) => {
      const writes = [
        db.insertMany('posts', []),
        db.replace(POST, { title: 'x' }),
        db.increment(POST, 'likes', 1),
        db.deleteMany('posts', [POST]),
      ];
      return (await Promise.allSettled(writes)).map((each) => (each.status === 'rejected' ? each.reason.message : ''));
    },
    { kind: 'query' },
  );
  expect(result).toEqual(
    ['insertMany', 'replace', 'increment', 'deleteMany'].map(
      (name) => `ctx.db.${name}: a query only reads. Make this function a mutation.`,
    ),
  );
  expect(ops).toEqual([]);
});
