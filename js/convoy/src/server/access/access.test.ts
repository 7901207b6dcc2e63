import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Script, uuid } from '../../../testing/scripted-engine.js';
import type { AnyAccessRules } from '../../schema/index.js';
import { convoyError } from '../../values/errors.js';
import type { BaseContext } from '../contexts.js';
import { internalMutation, internalQuery } from '../functions.js';
import {
  type Context,
  FORBIDDEN,
  type Handler,
  ID,
  REQUEST,
  run,
  type STORED,
  schemaOf,
  stored,
} from './access.test-kit.js';

const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
const unhandled = vi.fn();
process.on('unhandledRejection', unhandled);
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).not.toHaveBeenCalled();
  logged.mockClear();
});

const get: Handler = ({ db }) => db.get(ID as never);
const patch: Handler = ({ db }) => db.patch(ID as never, { n: 2 });

describe('a rule', () => {
  it('that throws hides the document, and is logged once', async () => {
    const rule = () => {
      throw new Error('oops');
    };
    const { body } = await run({ read: rule }, ({ db }) => db.getMany([ID, ID] as never));
    expect(body).toEqual([null, null]);
    expect(logged.mock.calls).toEqual([
      [
        'convoy: fn: the access rule `read` of notes',
        'failed, which denies:',
        expect.objectContaining({ message: 'oops' }),
      ],
    ]);
  });

  it('that throws denies a write, and passes on a ConvoyError', async () => {
    const failing = (error: Error) => async () => {
      throw error;
    };
    const refused = await run({ read: true, update: failing(new Error('oops')) }, patch);
    expect(refused).toMatchObject({ ok: false, body: FORBIDDEN });
    expect(logged).toHaveBeenCalledOnce();
    const unauthorized = failing(convoyError('UNAUTHORIZED', 'sign in'));
    expect((await run({ read: true, update: unauthorized }, patch)).body).toMatchObject({ code: 'UNAUTHORIZED' });
    expect((await run({ read: unauthorized }, get)).body).toBeNull();
    expect(logged).toHaveBeenCalledTimes(2);
  });

  it.each([[1], ['yes'], [{}], [[true]], [undefined], [null]])(
    'that returns %j denies, and is logged',
    async (answer) => {
      expect((await run({ read: () => answer }, get)).body).toBeNull();
      expect((await run({ read: async () => answer }, get)).body).toBeNull();
      expect((await run({ read: true, update: () => answer }, patch)).body).toEqual(FORBIDDEN);
      expect(logged).toHaveBeenCalledTimes(3);
      expect(logged.mock.calls[0]?.join(' ')).toMatch(/must return true or false, and await every promise before$/);
    },
  );

  it('whose own read fails fails the call, since it says nothing about the document', async () => {
    const read = async (ctx: object) => (await (ctx as Context).db.get('members', uuid(1) as never)) !== null;
    const script: Script = (op) =>
      'table' in op && op.table === 'members' ? { error: { code: 'UNAVAILABLE', message: 'away' } } : stored(op);
    expect(await run({ read }, get, { script })).toMatchObject({ ok: false, body: { code: 'UNAVAILABLE' } });
    expect(logged).not.toHaveBeenCalled();
  });

  it('cannot write or call functions', async () => {
    const messages: string[] = [];
    const attempt = async (work: () => Promise<unknown>): Promise<void> => {
      await work().catch((error: Error) => messages.push(error.message));
    };
    const read = async (ctx: object) => {
      const { db, runQuery } = ctx as Context;
      await attempt(() => db.insert('members', { user: 'x' }));
      await attempt(() => db.system.insert('members', { user: 'x' }));
      await attempt(() => runQuery('any' as never, {} as never));
      return true;
    };
    const { ops } = await run({ read }, get);
    expect(ops).toHaveLength(1);
    expect(messages).toEqual([
      'ctx.db.insert: an access rule only reads.',
      'ctx.db.insert: an access rule only reads.',
      'An access rule cannot call functions; it reads with ctx.db, or calls the code of the function.',
    ]);
  });

  it('reads without rules, also its own table', async () => {
    const read = async (ctx: object) => (await (ctx as Context).db.get('notes', ID as never)) !== null;
    expect((await run({ read }, get)).body).toMatchObject({ id: ID });
  });

  it('records what it reads of the context', async () => {
    const read = (ctx: object, doc: object) => (ctx as Context).user === (doc as typeof STORED).owner;
    const seen = async (rules: AnyAccessRules) => (await run(rules, get, { kind: 'query' })).seen;
    expect(await seen({ read })).toEqual({ '@@plain': 'true', user: '"ada"' });
    expect(await seen({ read: true })).toEqual({ '@@plain': 'true' });
  });

  it('may read a document that waits for the rule', async () => {
    const update = async (ctx: object, before: object) =>
      (await (ctx as Context).db.get((before as typeof STORED).id as never)) !== null;
    expect((await run({ read: true, update }, patch)).body).toMatchObject({ n: 2 });
  });

  it('may read while a transaction waits for the operation', async () => {
    const read = async (ctx: object) => {
      const { db } = ctx as Context;
      await db.get('members', uuid(1) as never);
      return db.transaction(async (tx) => (await tx.get('members', uuid(2) as never)) !== null);
    };
    const { body } = await run({ read }, async ({ db }) => {
      const reading = db.get(ID as never);
      const inside = db.transaction((tx) => tx.get(ID as never));
      return Promise.all([reading, inside]);
    });
    expect(body).toMatchObject([{ id: ID }, { id: ID }]);
  });

  it('is not asked about objects that a handler has changed', async () => {
    const update = (_: object, before: object) => (before as typeof STORED).meta.owner === 'eve';
    const { body } = await run({ read: true, update }, async ({ db }) => {
      const note = (await db.get(ID as never)) as typeof STORED;
      note.meta.owner = 'eve';
      return db.patch(ID as never, { meta: note.meta });
    });
    expect(body).toEqual(FORBIDDEN);
  });

  it('for inserts sees id and defaults', async () => {
    const insert = vi.fn(() => true);
    await run({ insert }, ({ db }) => db.insert('notes', { owner: 'ada' }));
    expect(insert).toHaveBeenCalledWith(expect.anything(), { id: `notes:${uuid(1)}`, owner: 'ada', n: 0 });
  });

  it('for inserts keeps allowed inserts held, and holds no others', async () => {
    const insert = (_: object, doc: object) => (doc as typeof STORED).owner === 'ada';
    const by =
      (owner: string): Handler =>
      ({ db }) =>
        void db.insert('notes', { owner });
    const allowed = await run({ insert }, by('ada'), { holds: true });
    expect(allowed).toMatchObject({ ok: true, held: [{ op: 'insert' }], ops: [] });
    expect(await run({ insert }, by('eve'), { holds: true })).toMatchObject({
      ok: false,
      body: FORBIDDEN,
      held: null,
      ops: [],
    });
    const later = await run({ insert: async (...args) => insert(...(args as [object, object])) }, by('ada'), {
      holds: true,
    });
    expect(later).toMatchObject({ ok: true, held: [{ op: 'insert' }] });
  });

  it('about several documents is asked about all before the first write', async () => {
    const insert = (_: object, doc: object) => {
      const { owner } = doc as typeof STORED;
      return owner === 'eve' ? false : Promise.reject(convoyError('CONFLICT', 'later'));
    };
    const inputs = [{ owner: 'ada' }, { owner: 'eve' }, { owner: 'ada' }];
    const { ok, ops } = await run({ insert }, ({ db }) => db.insertMany('notes', inputs));
    expect({ ok, ops }).toEqual({ ok: false, ops: [] });
  });
});

describe('range', () => {
  const collect: Handler = ({ db }) => db.query('notes').collect();
  const q = (made: unknown) => made as { field(name: string): unknown; eq(field: unknown, value: unknown): unknown };

  it('is added to the statement, and cursors do not depend on it', async () => {
    const range = async (ctx: object, made: unknown) => q(made).eq(q(made).field('owner'), (ctx as Context).user);
    const { ops } = await run({ read: () => true, range }, collect);
    expect(ops).toEqual([expect.objectContaining({ op: 'scan', within: { is: 'eq', field: 'owner', value: 'ada' } })]);
    expect(ops[0]).not.toHaveProperty('filter');
  });

  it('that throws or returns no condition hides all', async () => {
    for (const range of [() => ({}), () => undefined, () => Promise.reject(new Error('oops'))]) {
      const { ops } = await run({ read: () => true, range }, collect);
      expect(ops).toEqual([expect.objectContaining({ within: { is: 'or', of: [] } })]);
    }
    expect(logged).toHaveBeenCalledTimes(3);
  });

  it('needs a rule for reads to narrow', () => {
    const range = () => undefined;
    for (const rules of [{ range }, { range, read: true } as const]) {
      expect(() => schemaOf(rules)).toThrow('access({ range }) narrows the rule `read`, which decides: give both.');
    }
  });
});

describe('rules hold', () => {
  it('for anonymous calls of a program without createContext, and not for trusted ones', async () => {
    const of = (request: string | null) => run({}, get, { createContext: undefined, request });
    expect((await of(REQUEST)).body).toBeNull();
    expect((await of(null)).body).toMatchObject({ id: ID });
    expect((await of(JSON.stringify({ headers: {}, trusted: true }))).body).toMatchObject({ id: ID });
  });

  it('not in createContext, nor in functions that it calls', async () => {
    const find = internalQuery({ handler: (ctx) => ctx.db.get(ID as never) });
    const createContext = async (_: object, base: BaseContext) => ({
      ...base,
      user: [await base.db.get(ID as never), await base.runQuery(find as never, {} as never)],
    });
    const handler: Handler = async (ctx) => [
      ctx.user,
      await ctx.db.get(ID as never),
      await ctx.runQuery(find as never, {} as never),
    ];
    const { body } = await run({}, handler, { createContext: createContext as never, functions: { find } });
    expect(body).toMatchObject([[{ id: ID }, { id: ID }], null, null]);
  });

  it('in functions that a function calls', async () => {
    const change = internalMutation({ handler: (ctx) => ctx.db.patch(ID as never, { n: 2 }) });
    const handler: Handler = (ctx) => ctx.runMutation(change as never, {} as never);
    expect((await run({ read: true }, handler, { functions: { change } })).body).toEqual(FORBIDDEN);
    expect((await run({ read: true }, handler, { functions: { change }, request: null })).body).toMatchObject({ n: 2 });
  });

  it('where createContext returns another database only with an error', async () => {
    const createContext = (_: object, base: BaseContext) => ({ ...base, db: { ...base.db } });
    const { ok, body } = await run({}, get, { createContext: createContext as never });
    const message = expect.stringContaining('createContext returned another `db` than that of its base');
    expect({ ok, body }).toMatchObject({ ok: false, body: { thrown: { message } } });
    const unruled = await run(null, () => 'ok', { createContext: createContext as never });
    expect(unruled).toMatchObject({ ok: true, body: 'ok' });
  });

  it('with a context of a class, which keeps its methods', async () => {
    class Session {
      readonly user = 'ada';
      name(): string {
        return this.user;
      }
    }
    const createContext = (_: object, base: BaseContext) => Object.assign(new Session(), base);
    const read = (ctx: object, doc: object) => (ctx as Session).name() === (doc as typeof STORED).owner;
    const handler: Handler = async (ctx) => [
      (ctx as unknown as Session).name(),
      ((await ctx.db.get(ID as never)) as typeof STORED | null)?.id,
    ];
    expect((await run({ read }, handler, { createContext: createContext as never })).body).toEqual(['ada', ID]);
  });

  it('for a table without a rule as without rules', async () => {
    const { body, ops } = await run({}, ({ db }) => db.query('members').collect());
    expect({ body, ops: ops.map(({ op }) => op) }).toEqual({ body: [], ops: ['scan'] });
  });
});
