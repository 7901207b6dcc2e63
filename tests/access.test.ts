/** Access rules of tables, held for the callers of a real server: every method of `ctx.db`, by every kind of call. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type AccessApp, openAccessApp, readRef } from './access/app.js';
import { NOTE, noteOf, taskOf } from './access/documents.js';
import { READS, readsFindNoHiddenNotes, trustedCalls, WRITES } from './access/hidden-documents.js';
import type { functions, Step } from './access/program.js';
import { LiveSession } from './live-wire.js';

let app: AccessApp;
beforeAll(async () => {
  app = await openAccessApp();
});
afterAll(() => app.close());

const FORBIDDEN = (table: string) => ({
  code: 'FORBIDDEN',
  message: `The access rules of ${table} do not allow this write.`,
  details: { table },
});

const { insert, stored } = trustedCalls(() => app);

describe('a hidden document is absent', () => {
  let id: string;
  let mine: string;
  beforeEach(async () => {
    id = await insert('notes', noteOf('ada'));
    mine = await insert('notes', noteOf('eve'));
  });

  readsFindNoHiddenNotes(() => ({ app, id, mine }));

  it.each(WRITES)('for writes, in %s', async (name) => {
    const before = await stored(id);
    expect(await app.as('eve', name, { do: 'patch', args: [id, { rank: 2 }] })).toEqual({ ok: null });
    expect(await app.as('eve', name, { do: 'patch', args: [id, {}] })).toEqual({ ok: null });
    expect(await app.as('eve', name, { do: 'replace', args: [id, noteOf('eve')] })).toEqual({ ok: null });
    expect(await app.as('eve', name, { do: 'increment', args: [id, 'rank', 1] })).toEqual({ ok: null });
    expect(await app.as('eve', name, { do: 'delete', args: [id] })).toEqual({ ok: false });
    expect(await app.as('eve', name, { do: 'deleteMany', args: ['notes', [id, mine]] })).toEqual({ ok: 1 });
    expect(await stored(id)).toEqual(before);
  });
});

describe('a write that no rule allows', () => {
  it.each(WRITES)('is FORBIDDEN and has no effect, in %s', async (name) => {
    const id = await insert('notes', { ...noteOf('ada'), published: true });
    const before = await stored(id);
    const refused = async (step: Step) =>
      expect(await app.as('eve', name, step)).toEqual({ error: FORBIDDEN('notes') });
    await refused({ do: 'patch', args: [id, { rank: 2 }] });
    await refused({ do: 'replace', args: [id, { ...noteOf('ada') }] });
    await refused({ do: 'increment', args: [id, 'rank', 1] });
    await refused({ do: 'delete', args: [id] });
    await refused({ do: 'deleteMany', args: ['notes', [id]] });
    await refused({ do: 'insert', args: ['notes', noteOf('ada')] });
    await refused({ do: 'insertMany', args: ['notes', [noteOf('eve'), noteOf('ada')]] });
    await refused({ do: 'insert', args: ['notes', { ...noteOf('eve'), team: 'no such team' }] });
    expect(await stored(id)).toEqual(before);
    const ofEve = {
      do: 'count',
      args: [],
      query: [
        ['query', 'notes'],
        ['filter', { filter: ['team', 'no such team'] }],
      ],
    } as const;
    expect(await app.trusted(ofEve)).toEqual({ ok: 0 });
  });

  it.each(WRITES)('sees the document as it would be stored, in %s', async (name) => {
    const id = await insert('notes', { ...noteOf('eve'), rank: 99.9, counts: { likes: 2.9 } });
    const step = (method: string, ...args: unknown[]) => app.as('eve', name, { do: method, args: [id, ...args] });
    expect(await step('patch', { owner: 'ada' })).toEqual({ error: FORBIDDEN('notes') });
    expect(await step('increment', 'rank', 0.2)).toEqual({ error: FORBIDDEN('notes') });
    expect(await step('increment', 'rank', 0.1)).toMatchObject({ ok: { rank: 100 } });
    expect(await step('increment', 'counts.likes', 0.2)).toEqual({ error: FORBIDDEN('notes') });
    expect(await step('increment', 'counts.likes', 0.1)).toMatchObject({ ok: { counts: { likes: 3 } } });
    expect(await step('replace', { ...noteOf('eve'), rank: 101 })).toEqual({ error: FORBIDDEN('notes') });
    expect(await step('replace', noteOf('eve'))).toMatchObject({ ok: { rank: 1, published: false } });
    expect(await step('increment', 'counts.likes', 4)).toEqual({ error: FORBIDDEN('notes') });
    expect(await step('delete')).toEqual({ ok: true });
  });

  it('is denied without a rule, and so is reading', async () => {
    const posted = await insert('posted', { text: 'a' });
    expect(await app.as(null, 'read', { do: 'get', args: [posted] })).toMatchObject({ ok: { text: 'a' } });
    expect(await app.as(null, 'write', { do: 'delete', args: [posted] })).toEqual({ error: FORBIDDEN('posted') });
    const sent = await app.as(null, 'write', { do: 'insert', args: ['inbox', { text: 'b' }] });
    expect(sent).toEqual({ ok: expect.stringMatching(/^inbox:/) });
    expect(await app.as(null, 'read', { do: 'get', args: [sent.ok] })).toEqual({ ok: null });
    expect(await app.as(null, 'write', { do: 'delete', args: [sent.ok] })).toEqual({ ok: false });
    const inbox = [['query', 'inbox']] as const;
    expect(await app.as(null, 'read', { do: 'count', args: [], query: inbox })).toEqual({ ok: 0 });
    expect(await app.as(null, 'read', { do: 'collect', args: [], query: inbox })).toEqual({ ok: [] });
  });

  it('names neither row nor value where it conflicts with a hidden one', async () => {
    const hidden = await insert('notes', { ...noteOf('ada'), slug: 'secret-slug' });
    const { error } = await app.as('eve', 'write', {
      do: 'insert',
      args: ['notes', { ...noteOf('eve'), slug: 'secret-slug' }],
    });
    expect(error).toMatchObject({ code: 'CONFLICT' });
    expect(JSON.stringify(error)).not.toContain('secret-slug');
    expect(JSON.stringify(error)).not.toContain(hidden.slice('notes:'.length));
  });
});

describe('rules are off', () => {
  it('in trusted calls without a context, and on with one', async () => {
    const id = await insert('notes', noteOf('ada'));
    const get = { step: { do: 'get', args: [id] } };
    expect(await app.convoy.query(readRef, get)).toMatchObject({ ok: { id } });
    expect(await app.convoy.query(readRef, get, { context: { user: null } })).toEqual({ ok: null });
    expect(await app.convoy.query(readRef, get, { context: { user: { id: 'ada' } } })).toMatchObject({ ok: { id } });
  });

  it.each(READS)('by ctx.db.system, in %s', async (name) => {
    const id = await insert('notes', noteOf('ada'));
    expect(await app.as('eve', name, { do: 'get', args: [id], system: true })).toMatchObject({ ok: { id } });
    const sql = { text: 'select count(*)::int as n from notes', values: [] };
    expect(await app.as('eve', name, { do: 'raw', args: [sql], system: true })).toMatchObject({
      ok: [{ n: expect.any(Number) }],
    });
  });

  it('nowhere else for raw, which could read any table', async () => {
    const sql = { text: 'select id from open', values: [] };
    const raw = async (name: keyof typeof functions, ...options: object[]) =>
      (await app.as('eve', name, { do: 'raw', args: [sql, ...options] })).error?.message;
    expect(await raw('read')).toMatch(/^raw\(\) is not subject to the access rules of notes, tasks, posted, inbox\./);
    expect(await raw('read', { tables: ['open', 'notes'] })).toContain('raw() is not subject');
    expect(await raw('write', { tables: ['open'] })).toContain('raw() is not subject');
    expect(await raw('read', { tables: ['open'] })).toBeUndefined();
  });
});

describe('pages', () => {
  /** Visible to eve: every fourth. */
  const ranks = Array.from({ length: 41 }, (_, rank) => rank);
  const ofTable = { notes: noteOf, tasks: taskOf };
  beforeAll(async () => {
    await app.trusted({ do: 'raw', args: [{ text: 'delete from notes', values: [] }] });
    for (const table of ['notes', 'tasks'] as const) {
      const documents = ranks.map((rank) => ({ ...ofTable[table](rank % 4 === 3 ? 'pia' : 'ada'), rank }));
      await app.trusted({ do: 'insertMany', args: [table, documents] });
    }
  });

  it.each(['notes', 'tasks'])('of %s are full, and their cursors name visible rows', async (table) => {
    const query = [
      ['query', table],
      ['withIndex', 'by_rank'],
      ['filter', { filter: ['owner', 'pia'] }],
    ] as const;
    const hidden = [
      ['query', table],
      ['withIndex', 'by_rank'],
    ] as const;
    const page = async (cursor: string | null, numItems: number, by: Step['query'] = hidden) =>
      (await app.as('pia', 'read', { do: 'paginate', args: [{ cursor, numItems }], query: by })).ok as {
        page: { rank: number; id: string }[];
        isDone: boolean;
        continueCursor: string;
      };
    for (const numItems of [1, 3, 5, 10, 20]) {
      const seen: number[] = [];
      for (let cursor: string | null = null; ; ) {
        const next: Awaited<ReturnType<typeof page>> = await page(cursor, numItems);
        expect(next.page).toHaveLength(Math.min(numItems, 10 - seen.length));
        seen.push(...next.page.map(({ rank }) => rank));
        expect(next.isDone).toBe(seen.length === 10);
        const last = next.page.at(-1)?.id.slice(table.length + 1);
        expect(Buffer.from(next.continueCursor, 'base64url').toString()).toContain(last);
        cursor = next.continueCursor;
        if (next.isDone) break;
      }
      expect(seen).toEqual(ranks.filter((rank) => rank % 4 === 3));
    }
    expect((await page(null, 4, query)).page.map(({ rank }) => rank)).toEqual([3, 7, 11, 15]);
  });

  it('without a visible row are those of an empty table', async () => {
    const page = (table: string) =>
      app.as('zoe', 'read', { do: 'paginate', args: [{ cursor: null, numItems: 3 }], query: [['query', table]] });
    for (const table of ['notes', 'tasks']) {
      const { ok } = await page(table);
      expect(ok).toMatchObject({ page: [], isDone: true });
      expect(JSON.parse(Buffer.from(ok.continueCursor, 'base64url').toString())).toEqual([expect.any(Number), null]);
    }
  });

  it('up to a cursor have all visible rows, and are split between visible ones', async () => {
    const query = [
      ['query', 'notes'],
      ['withIndex', 'by_rank'],
    ] as const;
    const page = async (options: object) =>
      (await app.as('pia', 'read', { do: 'paginate', args: [options], query })).ok;
    const whole = await page({ cursor: null, numItems: 9 });
    const again = await page({ cursor: null, numItems: 2, endCursor: whole.continueCursor });
    expect(again).toMatchObject({ page: whole.page, isDone: false, continueCursor: whole.continueCursor });
    const middle = Buffer.from(again.splitCursor, 'base64url').toString();
    expect(whole.page.map(({ id }: { id: string }) => middle.includes(id.slice('notes:'.length)))).toContain(true);
  });
});

describe('live', () => {
  it('a change of another table that a rule reads shows and hides documents', async () => {
    const id = await insert('notes', { ...NOTE, owner: 'ada', team: 'red', slug: 'live-team' });
    const step = {
      do: 'collect',
      args: [],
      query: [
        ['query', 'notes'],
        ['filter', { filter: ['team', 'red'] }],
      ],
    };
    const session = await LiveSession.open({
      baseUrl: app.baseUrl,
      token: 'max',
      queries: [{ id: 1, name: 'read', args: { step } }],
    });
    const ids = () => ((session.data(1) as { ok?: { id: string }[] } | undefined)?.ok ?? []).map((note) => note.id);
    await session.until(() => session.data(1) !== undefined);
    expect(ids()).toEqual([]);
    const member = await insert('members', { team: 'red', user: 'max' });
    await session.until(() => ids().includes(id));
    await app.trusted({ do: 'delete', args: [member] });
    await session.until(() => ids().length === 0);
    await session.close();
  });

  it('a query depends only on the part of an index that a range selects', async () => {
    const step: Step = { do: 'collect', args: [], query: [['query', 'tasks']] };
    const session = await LiveSession.open({
      baseUrl: app.baseUrl,
      token: 'una',
      queries: [{ id: 1, name: 'read', args: { step } }],
    });
    await session.until(() => session.data(1) !== undefined);
    const before = app.convoy.stats().handlerRuns ?? 0;
    await insert('tasks', taskOf('ada'));
    const id = await insert('tasks', taskOf('una'));
    await session.until(() => JSON.stringify(session.data(1)).includes(id));
    // Two mutations, and one run of the query.
    expect(app.convoy.stats().handlerRuns).toBe(before + 3);
    await session.close();
  });

  it('results of a trusted watch and of users are never each other’s', async () => {
    const id = await insert('notes', { ...noteOf('ada'), team: 'blue' });
    const step: Step = {
      do: 'collect',
      args: [],
      query: [
        ['query', 'notes'],
        ['filter', { filter: ['team', 'blue'] }],
      ],
    };
    const watch = app.convoy.watch(readRef, { step });
    expect((await watch.next()).value).toMatchObject({ ok: [{ id }] });
    const session = await LiveSession.open({
      baseUrl: app.baseUrl,
      token: 'eve',
      queries: [{ id: 1, name: 'read', args: { step } }],
    });
    await session.until(() => session.data(1) !== undefined);
    expect(session.data(1)).toEqual({ ok: [] });
    expect(await app.as(null, 'read', step)).toEqual({ ok: [] });
    expect(await app.as('ada', 'read', step)).toMatchObject({ ok: [{ id }] });
    const other = await insert('notes', { ...noteOf('eve'), team: 'blue' });
    expect((await watch.next()).value).toMatchObject({ ok: [{ id }, { id: other }] });
    await session.until(() => JSON.stringify(session.data(1)).includes(other));
    expect(session.data(1)).toMatchObject({ ok: [{ id: other }] });
    await session.close();
    await watch.return?.();
  });
});
