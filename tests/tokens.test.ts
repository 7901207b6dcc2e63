/**
 * Acceptance 17, the part of it that is JavaScript's: what a real `createContext` says of its end and reads from the
 * database. The engine's part, in larger numbers, is tested in Rust.
 */
import {
  type BaseContext,
  ConvoyError,
  createFunctionHelpers,
  type DataModelOf,
  defineSchema,
  defineTable,
  type Id,
} from '@avvos/convoy';
import { createConvoy } from '@avvos/convoy/node';
import { afterEach, expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { LiveSession } from './live-wire.js';
import { LONG } from './model/random.js';

const SESSIONS = LONG ? 200 : 20;
/** How long after its end a token may still have been served, and how much longer there is news. */
const LATE = 2_000;
const BEYOND = 300;

const schema = defineSchema({
  notes: defineTable({ text: z.string() }),
  roles: defineTable({ name: z.string() }),
});

type Base = BaseContext<DataModelOf<typeof schema>>;
type Context = Base & { readonly user: { readonly id: string } };
const { query, mutation } = createFunctionHelpers<Context>();

const functions = {
  notes: {
    latest: query({ handler: async (ctx) => (await ctx.db.query('notes').order('desc').first())?.text ?? '' }),
    write: mutation({ input: { text: z.string() }, handler: (ctx, note) => ctx.db.insert('notes', note) }),
  },
  roles: {
    give: mutation({ handler: (ctx) => ctx.db.insert('roles', { name: 'member' }) }),
    take: mutation({ input: { id: z.string() }, handler: (ctx, { id }) => ctx.db.delete(id as Id<'roles'>) }),
  },
};

/** `Bearer <user> <when it ends, or 0> <role, if any>` */
async function createContext(req: { readonly headers: { readonly authorization?: unknown } }, base: Base) {
  const [, id = '', ends = '0', role] = String(req.headers.authorization).split(' ');
  if (role !== undefined && (await base.db.get(role as Id<'roles'>)) === null) {
    throw new ConvoyError('FORBIDDEN', 'Your role is gone.');
  }
  return { ...base, user: { id }, ...(ends === '0' ? {} : { expiresAt: Number(ends) }) };
}

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function serve(failpoints: readonly string[]) {
  const options = { databaseUrl: freshDatabaseUrl(), createDatabase: true, failpoints };
  const convoy = await createConvoy({ schema, functions, createContext: createContext as never, ...options });
  open.push(convoy);
  const { port } = await convoy.listen({ port: 0 });
  const baseUrl = `http://127.0.0.1:${port}`;
  return {
    async watch(token: string, onResult: (text: unknown) => void = () => {}): Promise<LiveSession> {
      const queries = [{ id: 0, name: 'notes.latest', args: {} }];
      const session = await LiveSession.open({ baseUrl, token, queries, onResult: (_, text) => onResult(text) });
      open.push(session);
      await session.until(() => session.results.has(0));
      return session;
    },
    async mutate(name: string, args: object): Promise<unknown> {
      const response = await fetch(`${baseUrl}/api/mutation/${name}`, {
        method: 'POST',
        headers: { authorization: 'Bearer writer' },
        body: JSON.stringify(args),
      });
      const answer = (await response.json()) as { readonly ok: boolean; readonly data?: unknown };
      expect(answer).toMatchObject({ ok: true });
      return answer.data;
    },
  };
}

/** How many sessions are shown something so long after their token's end. */
async function lateAfterExpiry(failpoints: readonly string[]): Promise<number> {
  const { watch, mutate } = await serve(failpoints);
  const lasting = await watch('lasting');
  const ends = Array.from({ length: SESSIONS }, (_, at) => Date.now() + 1_000 + at * 10);
  const last = ends.map(() => 0);
  await Promise.all(
    ends.map((end, at) =>
      watch(`user${at} ${end}`, () => {
        last[at] = Date.now();
      }),
    ),
  );
  let written = 0;
  while (Date.now() < Math.max(...ends) + LATE + BEYOND) await mutate('notes.write', { text: `${++written}` });
  await lasting.until(() => lasting.data(0) === `${written}`);
  const late = ends.filter((end, at) => (last[at] ?? 0) > end + LATE).length;
  console.log(`${late} of ${SESSIONS} sessions were shown something ${LATE} ms past their end, ${written} mutations`);
  return late;
}

/** How many sessions are shown something that was written when the role was gone that their context has read. */
async function shownAfterRevocation(failpoints: readonly string[]): Promise<number> {
  const { watch, mutate } = await serve(failpoints);
  // Runs the query for all of them: a run for one whose role is gone would make no context.
  const lasting = await watch('lasting');
  const members = await Promise.all(
    Array.from({ length: SESSIONS }, async (_, at) => {
      const role = await mutate('roles.give', {});
      const seen: unknown[] = [];
      const session = await watch(`user${at} 0 ${role}`, (text) => seen.push(text));
      return { role, session, seen };
    }),
  );
  // Each loses their role, and then there is news that others may still see.
  for (const [at, { role }] of members.entries()) {
    await mutate('roles.take', { id: role });
    await mutate('notes.write', { text: `${at}` });
  }
  await lasting.until(() => lasting.data(0) === `${SESSIONS - 1}`);
  const isOver = ({ session }: (typeof members)[number]) =>
    session.otherMessages.some(({ type }) => type === 'auth') || session.data(0) === `${SESSIONS - 1}`;
  await Promise.all(members.map((member) => member.session.until(() => isOver(member))));
  const shown = members.filter(({ seen }, at) => seen.some((text) => text !== '' && Number(text) >= at)).length;
  console.log(`${shown} of ${SESSIONS} sessions were shown what was written when their role was gone`);
  return shown;
}

const TIMEOUT = { timeout: LONG ? 300_000 : 60_000 };

test('nothing is delivered after the context has ended', TIMEOUT, async () => {
  expect(await lateAfterExpiry([])).toBe(0);
});

test('control: an end that is not looked at is found', TIMEOUT, async () => {
  expect(await lateAfterExpiry(['ignoreExpiry'])).toBeGreaterThan(0);
});

test('nothing is delivered after what the context has read is gone', TIMEOUT, async () => {
  expect(await shownAfterRevocation([])).toBe(0);
});

test('control: a context whose reads are not watched is found', TIMEOUT, async () => {
  expect(await shownAfterRevocation(['contextUnwatched'])).toBeGreaterThan(0);
});
