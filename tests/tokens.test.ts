/**
 * Acceptance 17, JavaScript's part: the expiry that a real `createContext` returns, and its database reads. The
 * engine's part is tested in Rust, with more sessions.
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
/** How long after a token's expiry results may still arrive, and how much longer the test writes. */
const TOLERANCE_MS = 2_000;
const MARGIN_MS = 300;

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

/** `Bearer <user> <expiry, or 0> <role, if any>` */
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

/** Counts the sessions that receive a result after their token's expiry and the tolerance. */
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
  while (Date.now() < Math.max(...ends) + TOLERANCE_MS + MARGIN_MS)
    await mutate('notes.write', { text: `${++written}` });
  await lasting.until(() => lasting.data(0) === `${written}`);
  const late = ends.filter((end, at) => (last[at] ?? 0) > end + TOLERANCE_MS).length;
  console.log(
    `${late} of ${SESSIONS} sessions received a result ${TOLERANCE_MS} ms past their expiry, ${written} mutations`,
  );
  return late;
}

/** Counts the sessions that receive a result written after the role read by their context was deleted. */
async function receivedAfterRevocation(failpoints: readonly string[]): Promise<number> {
  const { watch, mutate } = await serve(failpoints);
  // Runs the query for all of them: a session without its role could not make a context for a run.
  const lasting = await watch('lasting');
  const members = await Promise.all(
    Array.from({ length: SESSIONS }, async (_, at) => {
      const role = await mutate('roles.give', {});
      const seen: unknown[] = [];
      const session = await watch(`user${at} 0 ${role}`, (text) => seen.push(text));
      return { role, session, seen };
    }),
  );
  // Removes each role in turn, and then writes a note that the remaining members may see.
  for (const [at, { role }] of members.entries()) {
    await mutate('roles.take', { id: role });
    await mutate('notes.write', { text: `${at}` });
  }
  await lasting.until(() => lasting.data(0) === `${SESSIONS - 1}`);
  const isFinished = ({ session }: (typeof members)[number]) =>
    session.otherMessages.some(({ type }) => type === 'auth') || session.data(0) === `${SESSIONS - 1}`;
  await Promise.all(members.map((member) => member.session.until(() => isFinished(member))));
  const received = members.filter(({ seen }, at) => seen.some((text) => text !== '' && Number(text) >= at)).length;
  console.log(`${received} of ${SESSIONS} sessions received notes written after their role was deleted`);
  return received;
}

const TIMEOUT = { timeout: LONG ? 300_000 : 60_000 };

test('no result is delivered after the context has expired', TIMEOUT, async () => {
  expect(await lateAfterExpiry([])).toBe(0);
});

test('control: an ignored expiry is detected', TIMEOUT, async () => {
  expect(await lateAfterExpiry(['ignoreExpiry'])).toBeGreaterThan(0);
});

test('no result is delivered after a document that the context has read is deleted', TIMEOUT, async () => {
  expect(await receivedAfterRevocation([])).toBe(0);
});

test('control: untracked reads of a context are detected', TIMEOUT, async () => {
  expect(await receivedAfterRevocation(['contextUnwatched'])).toBeGreaterThan(0);
});
