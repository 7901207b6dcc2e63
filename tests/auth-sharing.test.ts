/** `ctx.auth` with many callers of one live query, and in calls from inside the program. */
import {
  type Auth,
  type AuthUser,
  type BaseContext,
  createAuth,
  createFunctionHelpers,
  type DataModelOf,
  defineSchema,
  defineTable,
} from '@avvos/convoy';
import { createConvoyClient, isConvoyError, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import { type ConvoyRequest, createConvoy } from '@avvos/convoy/node';
import { afterEach, expect, it } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';

type None = Record<string, never>;
const schema = defineSchema({ notes: defineTable({ text: z.string() }) });
type Base = BaseContext<DataModelOf<typeof schema>>;
type Context = Base & { readonly auth: Auth };
const { query, mutation, authed } = createFunctionHelpers<Context>();

const functions = {
  /** Asks only whether the caller is signed in. */
  required: query({
    handler: async (ctx) => {
      ctx.auth.require();
      return ['somebody', await ctx.db.query('notes').count()];
    },
  }),
  guarded: authed.query({ handler: async (ctx) => ['somebody', await ctx.db.query('notes').count()] }),
  byRole: query({
    handler: async (ctx) => [ctx.auth.can('admin') ? 'admin' : 'other', await ctx.db.query('notes').count()],
  }),
  own: query({ handler: async (ctx) => [ctx.auth.require().id, await ctx.db.query('notes').count()] }),
  add: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
  rename: authed.mutation({ handler: (ctx) => ctx.auth.user.id }),
};
type Counted = [string, number];
const counted = (name: 'required' | 'guarded' | 'byRole' | 'own') => makeQueryRef<None, Counted>(name);
const add = makeMutationRef<{ text: string }, string>('add');
const rename = makeMutationRef<None, string>('rename');

/** The token of a user is the user's name; every tenth is an admin. */
function userIn({ headers }: ConvoyRequest): AuthUser | null {
  const id = headers.authorization?.slice('Bearer '.length);
  if (typeof id !== 'string') return null;
  return { id, organization: 'acme', roles: id.endsWith('0') ? ['admin'] : [] };
}

const ending: (() => unknown)[] = [];
afterEach(async () => {
  await Promise.all(
    ending
      .splice(0)
      .reverse()
      .map((end) => end()),
  );
});

async function served() {
  const convoy = await createConvoy({
    schema,
    functions,
    databaseUrl: freshDatabaseUrl(),
    createDatabase: true,
    createContext: (req: ConvoyRequest, base: Base) => ({ ...base, auth: createAuth(userIn(req)) }),
  });
  ending.push(() => convoy.close());
  const { port } = await convoy.listen({ port: 0 });
  const clientOf = (user: string | null) => {
    const client = createConvoyClient({ baseUrl: `http://127.0.0.1:${port}`, ...(user && { auth: () => user }) });
    ending.push(() => client.close());
    return client;
  };
  return { convoy, clientOf };
}

/** Watches a query as each user; resolves when all have seen the count, and returns the first members of the results. */
function everyone(clients: readonly ReturnType<typeof createConvoyClient>[], name: Parameters<typeof counted>[0]) {
  const latest = clients.map((): Counted | null => null);
  let onResult = (): void => {};
  for (const [at, client] of clients.entries()) {
    client.watch(counted(name), {}, ({ data }) => {
      latest[at] = data ?? null;
      onResult();
    });
  }
  return (count: number): Promise<(string | undefined)[]> =>
    new Promise((resolve) => {
      onResult = () => {
        if (latest.every((result) => result?.[1] === count)) resolve(latest.map((result) => result?.[0]));
      };
      onResult();
    });
}

const USERS = 1_000;

it.each([
  ['required', 1],
  ['guarded', 1],
  ['byRole', 2],
  ['own', USERS],
] as const)(`one commit runs %s for ${USERS} users %i times`, async (name, runs) => {
  const { convoy, clientOf } = await served();
  const users = Array.from({ length: USERS }, (_, at) => `user-${at}`);
  const until = everyone(users.map(clientOf), name);
  await until(0);
  const before = convoy.stats().handlerRuns ?? 0;
  await convoy.mutation(add, { text: 'x' }, { context: { auth: createAuth(null) } });
  const received = await until(1);
  // One more is the mutation.
  expect((convoy.stats().handlerRuns ?? 0) - before - 1).toBe(runs);
  if (name === 'own') expect(received).toEqual(users);
  if (name === 'byRole') expect(received).toEqual(users.map((user) => (user.endsWith('0') ? 'admin' : 'other')));
});

it('a caller who is not signed in is refused, and never gets a result of those who are', async () => {
  const { clientOf } = await served();
  const signedIn = clientOf('user-1');
  const until = everyone([signedIn], 'guarded');
  await until(0);
  const anonymous = clientOf(null);
  await expect(anonymous.query(counted('guarded'), {})).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  await expect(anonymous.mutation(rename, {})).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  const refused = await new Promise<unknown>((resolve) => {
    anonymous.watch(
      counted('guarded'),
      {},
      ({ error, data }) => (error ?? data ?? null) !== null && resolve(error ?? data),
    );
  });
  expect(isConvoyError(refused) && refused.code).toBe('UNAUTHORIZED');
});

it('a trusted call may bring an auth of its own', async () => {
  const { convoy } = await served();
  await expect(convoy.mutation(rename, {})).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  const context = { auth: createAuth({ id: 'u7' }) };
  expect(await convoy.mutation(rename, {}, { context })).toBe('u7');
});
