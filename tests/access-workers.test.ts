/** Access rules on worker threads: contexts that cross threads, and rules that never end. */
import { makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freshDatabaseUrl } from './app.js';

type None = Record<string, never>;
const list = makeQueryRef<None, string[]>('list');
const listFromAction = makeActionRef<None, string[]>('listFromAction');
const deepFromAction = makeActionRef<None, string[]>('deepFromAction');
const addFromAction = makeActionRef<None, string>('addFromAction');
const add = makeMutationRef<{ owner: string; text: string }, string>('add');

const program = new URL('./programs/ruled.mjs', import.meta.url);
let convoy: Convoy;
let baseUrl: string;
let databaseUrl: string;

beforeEach(async () => {
  databaseUrl = freshDatabaseUrl();
  const limits = { queryMs: 1_000, actionMs: 5_000, workerUnresponsiveMs: 200 };
  convoy = await createConvoy({ program, workers: 2, databaseUrl, createDatabase: true, limits });
  baseUrl = `http://127.0.0.1:${(await convoy.listen({ port: 0 })).port}`;
  for (const owner of ['ada', 'eve']) await convoy.mutation(add, { owner, text: `of ${owner}` });
});
afterEach(() => convoy.close());

async function call(user: string | null, kind: string, name: string, args: object = {}) {
  const headers: Record<string, string> = user === null ? {} : { authorization: user };
  const response = await fetch(`${baseUrl}/api/${kind}/${name}`, {
    method: 'POST',
    headers,
    body: JSON.stringify(args),
  });
  const { data, error } = (await response.json()) as { data?: unknown; error?: { code: string } };
  return error?.code ?? data;
}

describe('rules hold', () => {
  it('for clients, also in calls that an action makes', async () => {
    expect(await call('ada', 'query', 'list')).toEqual(['of ada']);
    expect(await call(null, 'query', 'list')).toEqual([]);
    expect(await call('eve', 'action', 'listFromAction')).toEqual(['of eve']);
    expect(await call('eve', 'action', 'deepFromAction')).toEqual(['of eve']);
    expect(await call('eve', 'action', 'addFromAction')).toBe('FORBIDDEN');
    expect(await call('eve', 'mutation', 'add', { owner: 'eve', text: 'more' })).toBe('FORBIDDEN');
  });

  it('for trusted calls with a context only, also in calls that an action makes', async () => {
    const all = ['of ada', 'of eve'];
    const context = { user: 'ada' };
    for (const context of [undefined, {}]) {
      const expected = context === undefined ? all : [];
      const options = context === undefined ? undefined : { context };
      expect(await convoy.query(list, {}, options)).toEqual(expected);
      expect(await convoy.action(listFromAction, {}, options)).toEqual(expected);
      expect(await convoy.action(deepFromAction, {}, options)).toEqual(expected);
    }
    expect(await convoy.action(deepFromAction, {}, { context })).toEqual(['of ada']);
    await expect(convoy.action(addFromAction, {}, { context })).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(await convoy.action(addFromAction, {})).toMatch(/^notes:/);
  });

  it('for watches with a context only', async () => {
    const [all, own] = [convoy.watch(list, {}), convoy.watch(list, {}, { context: { user: 'ada' } })];
    expect((await all.next()).value).toEqual(['of ada', 'of eve']);
    expect((await own.next()).value).toEqual(['of ada']);
    await Promise.all([all.return?.(), own.return?.()]);
  });

  it('neither for the check of stored documents nor for the backfill', async () => {
    const psql = new pg.Client({ connectionString: databaseUrl });
    await psql.connect();
    await psql.query(`update notes set data = data - 'stars'`);
    await psql.query(`insert into notes (id, data) values (gen_random_uuid(), '{"owner": 7, "text": "x"}')`);
    await psql.end();
    expect(await convoy.checkDocuments()).toMatchObject([{ table: 'notes', documents: 3, unfit: 1 }]);
    // Only tables with documents at the time of the load are written.
    await convoy.load({ program });
    expect(await convoy.backfill()).toMatchObject([{ table: 'notes', documents: 3, written: 2, unfit: 1 }]);
  });
});

describe('a rule that never ends', () => {
  it.each(['loop', 'never'])('is ended by the timeout: %s', async (text) => {
    await convoy.mutation(add, { owner: 'max', text });
    expect(await call('max', 'query', 'list')).toBe('TIMEOUT');
    expect(await call('ada', 'query', 'list')).toEqual(['of ada']);
  });
});
