/** Live queries under row-level security: who sees what as rows and memberships change, and who shares a run. */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { type ConvoyClient, createConvoyClient, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type ConvoyRequest, createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import type { StepResult } from './access/app.js';
import type { Step } from './access/program.js';
import { openRowSecurityApp, Roles, type RowSecurityApp } from './row-security/app.js';

let app: RowSecurityApp;
beforeAll(async () => {
  app = await openRowSecurityApp();
});
afterAll(() => app.close());

const ending: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

/** The latest result of a live query, and a promise for a result that fits. */
class Latest<T> {
  #value: T | undefined;
  #check = (): void => {};

  set(value: T | undefined): void {
    this.#value = value;
    this.#check();
  }

  until(fits: (value: T) => boolean): Promise<T> {
    return new Promise((resolve) => {
      this.#check = () => {
        if (this.#value !== undefined && fits(this.#value)) resolve(this.#value);
      };
      this.#check();
    });
  }
}

function clientOf(baseUrl: string, user: string | null): ConvoyClient {
  const client = createConvoyClient({ baseUrl, ...(user && { auth: () => user }) });
  ending.push(() => client.close());
  return client;
}

const readRef = makeQueryRef<{ step: Step }, StepResult>('read');

/** Watches a step of `read` as a user. */
function watch(user: string | null, step: Step): Latest<StepResult> {
  const latest = new Latest<StepResult>();
  clientOf(app.baseUrl, user).watch(readRef, { step }, ({ data }) => latest.set(data ?? undefined));
  return latest;
}

const all = (table: string): Step => ({ do: 'collect', args: [], query: [['query', table]] });
const ids = ({ ok }: StepResult): string[] => (ok as { id: string }[]).map(({ id }) => id);
async function insert(table: string, document: object): Promise<string> {
  return (await app.trusted({ do: 'insert', args: [table, document] })).ok as string;
}

it('a row appears and disappears as a policy by its content says', async () => {
  const [ada, eve, anonymous] = [watch('ada', all('tasks')), watch('eve', all('tasks')), watch(null, all('tasks'))];
  const counted = watch('eve', { do: 'count', args: [], query: [['query', 'tasks']] });
  for (const each of [ada, eve, anonymous]) expect(await each.until(() => true)).toEqual({ ok: [] });
  const id = await insert('tasks', { owner: 'ada', rank: 1 });
  expect(ids(await ada.until(({ ok }) => ok.length === 1))).toEqual([id]);
  const theirs = await insert('tasks', { owner: 'eve', rank: 1 });
  expect(ids(await eve.until(({ ok }) => ok.length === 1))).toEqual([theirs]);
  await app.trusted({ do: 'patch', args: [id, { owner: 'eve' }] });
  expect(ids(await eve.until(({ ok }) => ok.length === 2))).toEqual([id, theirs]);
  await ada.until(({ ok }) => ok.length === 0);
  await counted.until(({ ok }) => ok === 2);
  // Also by another program.
  await app.psql.query(`update tasks set data = data || '{"owner": "ada"}' where id = $1`, [id.slice('tasks:'.length)]);
  expect(ids(await ada.until(({ ok }) => ok.length === 1))).toEqual([id]);
  expect(ids(await eve.until(({ ok }) => ok.length === 1))).toEqual([theirs]);
  await app.as('eve', 'write', { do: 'deleteMany', args: ['tasks', [theirs]] });
  await counted.until(({ ok }) => ok === 0);
  expect(await anonymous.until(() => true)).toEqual({ ok: [] });
});

it('a row appears and disappears with what its policy reads in another table', async () => {
  const note = await insert('notes', { owner: 'ada', team: 'red', rank: 1, slug: 'live-1' });
  const [max, single] = [watch('max', all('notes')), watch('max', { do: 'get', args: [note] })];
  expect(await max.until(() => true)).toEqual({ ok: [] });
  expect(await single.until(() => true)).toEqual({ ok: null });
  const member = await insert('members', { team: 'red', user: 'max' });
  expect(ids(await max.until(({ ok }) => ok.length === 1))).toEqual([note]);
  await single.until(({ ok }) => ok?.id === note);
  await app.psql.query('delete from members where id = $1', [member.slice('members:'.length)]);
  await max.until(({ ok }) => ok.length === 0);
  await single.until(({ ok }) => ok === null);
});

it('a list in pages shows the rows of its caller, and full pages', async () => {
  for (let n = 0; n < 6; n++) await insert('tasks', { owner: n % 2 === 0 ? 'pia' : 'tom', rank: n });
  const page = (cursor: string | null): Step => ({
    do: 'paginate',
    args: [{ cursor, numItems: 2 }],
    query: [
      ['query', 'tasks'],
      ['withIndex', 'by_rank'],
    ],
  });
  const pia = watch('pia', page(null));
  const first = await pia.until(() => true);
  const ranks = ({ ok }: StepResult): number[] => (ok.page as { rank: number }[]).map(({ rank }) => rank);
  expect(ranks(first)).toEqual([0, 2]);
  expect(ranks(await app.as('pia', 'read', page(first.ok.continueCursor)))).toEqual([4]);
  await insert('tasks', { owner: 'pia', rank: -1 });
  expect(ranks(await pia.until((result) => ranks(result)[0] === -1))).toEqual([-1, 0]);
});

const teams = defineSchema({ posts: defineTable({ team: z.string(), text: z.string() }).index('by_team', ['team']) });
type Base = BaseContext<DataModelOf<typeof teams>>;
type Context = Base & { readonly team: string; readonly name: string };
const { query, mutation } = createFunctionHelpers<Context>();
const functions = {
  texts: query({ handler: async (ctx) => (await ctx.db.query('posts').collect()).map(({ text }) => text) }),
  /** Has no operation. */
  fixed: query({ handler: () => ['fixed'] }),
  add: mutation({
    input: { team: z.string(), text: z.string() },
    handler: (ctx, post) => ctx.db.insert('posts', post),
  }),
};

/** A server whose settings name the team of the caller. The token is `team/name`. */
async function teamApp() {
  const roles = await Roles.create();
  const { databaseUrl, client: role } = roles;
  const source = {
    schema: teams,
    functions,
    createContext: ({ headers }: ConvoyRequest, base: Base): Context => {
      const [team = '', name = ''] = String(headers.authorization ?? '')
        .replace('Bearer ', '')
        .split('/');
      return { ...base, team, name };
    },
    rls: { role, settings: (ctx: Context) => ({ 'app.team': ctx.team }) },
  };
  const convoy = await createConvoy({ ...source, databaseUrl });
  ending.push(async () => {
    await convoy.close();
    await roles.drop();
  });
  const psql = new pg.Client({ connectionString: databaseUrl });
  await psql.connect();
  await psql.query(`
    grant select on posts to ${role};
    alter table posts enable row level security;
    create policy team on posts using (data->>'team' = current_setting('app.team', true));`);
  await psql.end();
  await convoy.load(source);
  return { convoy, baseUrl: `http://127.0.0.1:${(await convoy.listen({ port: 0 })).port}` };
}

const CALLERS = 20;

it.each([
  ['callers with the same settings share one run', 'texts', 1],
  ['each of several settings has a run of its own', 'texts', 4],
  ['a query without an operation does not depend on the settings', 'fixed', 4],
] as const)('%s', async (_, name, count) => {
  const { convoy, baseUrl } = await teamApp();
  const watched = Array.from({ length: CALLERS }, (_unused, at) => {
    const latest = new Latest<string[]>();
    const client = clientOf(baseUrl, `team-${at % count}/user-${at}`);
    client.watch(makeQueryRef<Record<string, never>, string[]>(name), {}, ({ data }) => latest.set(data ?? undefined));
    return { latest, team: `team-${at % count}` };
  });
  if (name === 'fixed') {
    for (const { latest } of watched) await latest.until(() => true);
    expect(convoy.stats().liveQueries).toBe(1);
    return;
  }
  for (const { latest } of watched) await latest.until((texts) => texts.length === 0);
  expect(convoy.stats().liveQueries).toBe(count);
  const before = convoy.stats().handlerRuns ?? 0;
  const add = makeMutationRef<{ team: string; text: string }, string>('add');
  await convoy.mutation(add, { team: 'team-0', text: 'hello' });
  const mine = watched.filter(({ team }) => team === 'team-0');
  for (const { latest } of mine) expect(await latest.until((texts) => texts.length === 1)).toEqual(['hello']);
  for (const { latest, team } of watched) if (team !== 'team-0') expect(await latest.until(() => true)).toEqual([]);
  // One more is the mutation.
  expect((convoy.stats().handlerRuns ?? 0) - before - 1).toBe(count);
});
