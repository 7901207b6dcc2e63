/** Row-level security of a program on worker threads: the role comes from the module, and contexts cross threads. */
import { makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Roles } from './row-security/app.js';

type None = Record<string, never>;
const list = makeQueryRef<None, string[]>('list');
const deepFromAction = makeActionRef<None, string[]>('deepFromAction');
const add = makeMutationRef<{ owner: string; text: string }, string>('add');

let roles: Roles;
let convoy: Convoy;
let baseUrl: string;

beforeAll(async () => {
  roles = await Roles.create();
  const program = new URL(`./programs/row-security.mjs?role=${roles.client}`, import.meta.url);
  convoy = await createConvoy({ program, workers: 2, databaseUrl: roles.databaseUrl });
  const psql = new pg.Client({ connectionString: roles.databaseUrl });
  await psql.connect();
  await psql.query(`
    grant select, insert, update, delete on notes to ${roles.client};
    alter table notes enable row level security;
    create policy own on notes using (data->>'owner' = current_setting('app.user', true));`);
  await psql.end();
  await convoy.load({ program });
  baseUrl = `http://127.0.0.1:${(await convoy.listen({ port: 0 })).port}`;
  for (const owner of ['ada', 'eve']) await convoy.mutation(add, { owner, text: `of ${owner}` });
});
afterAll(async () => {
  await convoy.close();
  await roles.drop();
});

async function call(user: string | null, kind: string, name: string, args: object = {}) {
  const headers: Record<string, string> = user === null ? {} : { authorization: user };
  const init = { method: 'POST', headers, body: JSON.stringify(args) };
  const response = await fetch(`${baseUrl}/api/${kind}/${name}`, init);
  const { data, error } = (await response.json()) as { data?: unknown; error?: { code: string } };
  return error?.code ?? data;
}

it('policies hold for clients, also in calls that an action makes', async () => {
  expect(await call('ada', 'query', 'list')).toEqual(['of ada']);
  expect(await call(null, 'query', 'list')).toEqual([]);
  expect(await call('eve', 'action', 'listFromAction')).toEqual(['of eve']);
  expect(await call('eve', 'action', 'deepFromAction')).toEqual(['of eve']);
  expect(await call('eve', 'action', 'addFromAction', { owner: 'ada' })).toBe('FORBIDDEN');
  expect(await call('max', 'action', 'addFromAction', { owner: 'max' })).toMatch(/^notes:/);
});

it('an insert that a policy refuses fails its mutation, also if it is not awaited', async () => {
  expect(await call('eve', 'mutation', 'addLater', { owner: 'ada' })).toBe('FORBIDDEN');
  expect(await call('eve', 'mutation', 'addLater', { owner: 'eve' })).toBeNull();
  expect(await call('ada', 'query', 'list')).toEqual(['of ada']);
  expect(await call('eve', 'query', 'list')).toEqual(['of eve', 'later']);
});

it('createContext reads as the system, also from memory', async () => {
  for (const user of ['eve', null, 'ada']) expect(await call(user, 'query', 'first')).toBe('of ada');
});

it('policies hold for trusted calls with a context only', async () => {
  const context = { user: 'ada' };
  expect(await convoy.query(list, {}, { context })).toEqual(['of ada']);
  expect(await convoy.action(deepFromAction, {}, { context })).toEqual(['of ada']);
  expect(await convoy.query(list, {}, { context: {} })).toEqual([]);
  const all = expect.arrayContaining(['of ada', 'of eve']);
  expect(await convoy.query(list, {})).toEqual(all);
  expect(await convoy.action(deepFromAction, {})).toEqual(all);
});

it('policies hold for watches with a context only', async () => {
  const [all, own] = [convoy.watch(list, {}), convoy.watch(list, {}, { context: { user: 'ada' } })];
  expect((await all.next()).value).toEqual(expect.arrayContaining(['of ada', 'of eve']));
  expect((await own.next()).value).toEqual(['of ada']);
  await Promise.all([all.return?.(), own.return?.()]);
});
