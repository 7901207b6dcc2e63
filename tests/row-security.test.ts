/** Row-level security of Postgres, held for the callers of a real server: every method of `ctx.db`, by every kind of call. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { READS, readsFindNoHiddenNotes, trustedCalls, WRITES } from './access/hidden-documents.js';
import type { Step } from './access/program.js';
import { openRowSecurityApp, type RowSecurityApp } from './row-security/app.js';

let app: RowSecurityApp;
beforeAll(async () => {
  app = await openRowSecurityApp();
});
afterAll(() => app.close());

const FORBIDDEN = {
  code: 'FORBIDDEN',
  message: 'The row-level security policies of the database do not allow this write.',
};

let slugs = 0;
const noteOf = (owner: string) => ({ owner, rank: 1, slug: `slug-${slugs++}` });
const raw = (text: string, ...values: (string | null)[]): Step => ({ do: 'raw', args: [{ text, values }] });

const { insert, stored } = trustedCalls(() => app);

describe('a row that no policy shows is absent', () => {
  let id: string;
  let mine: string;
  beforeEach(async () => {
    id = await insert('notes', noteOf('ada'));
    mine = await insert('notes', noteOf('eve'));
  });

  readsFindNoHiddenNotes(() => ({ app, id, mine }));

  it.each(READS)('for raw, in %s', async (name) => {
    const found = await app.as('eve', name, raw("select data->>'owner' as owner from notes"));
    const { ok: own } = await app.as('eve', name, { do: 'count', args: [], query: [['query', 'notes']] });
    expect(own).toBeGreaterThan(0);
    expect(found).toEqual({ ok: Array(own as number).fill({ owner: 'eve' }) });
  });

  it.each(WRITES)('for writes, in %s', async (name) => {
    const before = await stored(id);
    expect(await app.as('eve', name, { do: 'patch', args: [id, { rank: 2 }] })).toEqual({ ok: null });
    expect(await app.as('eve', name, { do: 'patch', args: [id, {}] })).toEqual({ ok: null });
    // It would be INVALID_ARGS for a document that the caller sees.
    expect(await app.as('eve', name, { do: 'patch', args: [id, { rank: 'x' }] })).toEqual({ ok: null });
    expect(await app.as('eve', name, { do: 'replace', args: [id, noteOf('eve')] })).toEqual({ ok: null });
    expect(await app.as('eve', name, { do: 'increment', args: [id, 'rank', 1] })).toEqual({ ok: null });
    expect(await app.as('eve', name, { do: 'delete', args: [id] })).toEqual({ ok: false });
    expect(
      await app.as('eve', name, raw('update notes set data = data || \'{"rank": 9}\' where id = $1', id.slice(6))),
    ).toEqual({ ok: [] });
    expect(await app.as('eve', name, { do: 'deleteMany', args: ['notes', [id, mine]] })).toEqual({ ok: 1 });
    expect(await stored(id)).toEqual(before);
  });

  it.each(WRITES)('for writes that need more than to see it, in %s', async (name) => {
    const shown = await insert('notes', { ...noteOf('ada'), published: true });
    const before = await stored(shown);
    expect(await app.as('eve', name, { do: 'get', args: [shown] })).toMatchObject({ ok: { id: shown } });
    expect(await app.as('eve', name, { do: 'patch', args: [shown, { rank: 2 }] })).toEqual({ ok: null });
    expect(await app.as('eve', name, { do: 'replace', args: [shown, noteOf('eve')] })).toEqual({ ok: null });
    expect(await app.as('eve', name, { do: 'increment', args: [shown, 'rank', 1] })).toEqual({ ok: null });
    expect(await app.as('eve', name, { do: 'delete', args: [shown] })).toEqual({ ok: false });
    expect(await stored(shown)).toEqual(before);
  });
});

describe('a write that a policy refuses', () => {
  it.each(WRITES)('is FORBIDDEN and has no effect, in %s', async (name) => {
    const id = await insert('notes', noteOf('eve'));
    const before = await stored(id);
    const refused = async (step: Step) => expect(await app.as('eve', name, step)).toEqual({ error: FORBIDDEN });
    await refused({ do: 'patch', args: [id, { rank: 101 }] });
    await refused({ do: 'patch', args: [id, { owner: 'ada' }] });
    await refused({ do: 'replace', args: [id, noteOf('ada')] });
    await refused({ do: 'increment', args: [id, 'rank', 100] });
    await refused({ do: 'insert', args: ['notes', noteOf('ada')] });
    await refused({ do: 'insertMany', args: ['notes', [noteOf('eve'), { ...noteOf('ada'), team: 'refused' }]] });
    await refused(raw('update notes set data = data || \'{"rank": 101}\' where id = $1', id.slice(6)));
    expect(await stored(id)).toEqual(before);
    const count = raw("select id from notes where data->>'team' = 'refused'");
    expect(await app.trusted(count)).toEqual({ ok: [] });
  });

  it.each(WRITES)('is one without a privilege, too, in %s', async (name) => {
    const step = { do: 'insert', args: ['secrets', { text: 'x' }] };
    expect(await app.as('ada', name, step)).toMatchObject({ error: { code: 'FORBIDDEN' } });
    const grant = 'The database does not grant this to the role of the call.';
    expect(await app.as('ada', name, { do: 'count', args: [], query: [['query', 'secrets']] })).toEqual({
      error: { code: 'FORBIDDEN', message: grant },
    });
  });

  it.each(WRITES)('does not hide that a value is taken, in %s', async (name) => {
    const { slug } = await stored(await insert('notes', noteOf('ada')));
    const { error } = await app.as('eve', name, { do: 'insert', args: ['notes', { ...noteOf('eve'), slug }] });
    expect(error).toMatchObject({ code: 'CONFLICT' });
    expect(JSON.stringify(error)).not.toContain(slug);
  });

  it.each(WRITES)('is none of those that it allows, in %s', async (name) => {
    const { ok: id } = await app.as('eve', name, { do: 'insert', args: ['notes', noteOf('eve')] });
    expect(await app.as('eve', name, { do: 'patch', args: [id, { rank: 7 }] })).toMatchObject({ ok: { id, rank: 7 } });
    expect(await app.as('eve', name, { do: 'increment', args: [id, 'rank', 1] })).toMatchObject({ ok: { rank: 8 } });
    const replaced = await app.as('eve', name, { do: 'replace', args: [id, noteOf('eve')] });
    expect(replaced).toMatchObject({ ok: { id, rank: 1 } });
    expect(await app.as('eve', name, { do: 'delete', args: [id] })).toEqual({ ok: true });
    expect(await stored(id)).toBeNull();
  });
});

describe('a write of a row that its writer may not see', () => {
  const step = { do: 'insert', args: ['secrets', { text: 'x' }] };
  beforeAll(() =>
    app.psql.query(`
      grant select, insert on secrets to ${app.role};
      alter table secrets enable row level security;
      create policy added on secrets for insert with check (true)`),
  );

  it.each(WRITES)('is FORBIDDEN, in %s', async (name) => {
    expect(await app.as('ada', name, step)).toEqual({ error: FORBIDDEN });
    expect(await app.as('ada', name, { ...step, system: true })).toEqual({ ok: expect.stringMatching(/^secrets:/) });
  });
});

describe('the system sees all', () => {
  it.each(READS)('by ctx.db.system, in %s', async (name) => {
    const id = await insert('tasks', { owner: 'ada', rank: 1 });
    expect(await app.as('eve', name, { do: 'get', args: [id], system: true })).toMatchObject({ ok: { id } });
    expect(await app.as('eve', name, { do: 'get', args: [id] })).toEqual({ ok: null });
  });

  it('in trusted calls without a context, and not in those with one', async () => {
    const id = await insert('tasks', { owner: 'ada', rank: 1 });
    const step = { do: 'get', args: [id] };
    const ref = { kind: 'query', name: 'read' } as never;
    const as = (context?: object) => app.convoy.query(ref, { step } as never, context && { context });
    expect(await as()).toMatchObject({ ok: { id } });
    expect(await as({ user: { id: 'ada' } })).toMatchObject({ ok: { id } });
    expect(await as({ user: { id: 'eve' } })).toEqual({ ok: null });
    expect(await as({})).toEqual({ ok: null });
  });

  it('in the check of stored documents and in the backfill', async () => {
    await app.psql.query(`insert into tasks (id, data) values (gen_random_uuid(), '{"owner": 7}')`);
    expect(await app.convoy.checkDocuments()).toMatchObject([{ table: 'tasks', unfit: 1 }]);
    await app.psql.query(`delete from tasks where data->>'owner' = '7'`);
    expect(await app.convoy.backfill()).toEqual(expect.any(Array));
  });
});

describe('an idempotency key', () => {
  it('keeps the response of a write under the role, for its caller only', async () => {
    const step = { do: 'insert', args: ['notes', noteOf('eve')] };
    const keyed = (user: string) => app.call(user, 'write', { step }, { 'idempotency-key': 'key-1' });
    const first = await keyed('eve');
    expect(first.data).toMatchObject({ ok: expect.stringMatching(/^notes:/) });
    expect(await keyed('eve')).toEqual(first);
    // Of another caller, it is another key.
    expect(await keyed('ada')).toMatchObject({ error: { code: 'FORBIDDEN' } });
    const count = raw("select id from notes where data->>'slug' = $1", (step.args[1] as { slug: string }).slug);
    expect((await app.trusted(count)).ok).toHaveLength(1);
  });
});
