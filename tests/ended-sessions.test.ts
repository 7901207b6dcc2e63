/**
 * Many sessions call mutations at once, while sessions are ended and begun again, by functions and by another program.
 * What `cachedReads` keeps of a session that has ended is not used: no mutation commits whose function returns after the
 * session was ended by Convoy, or that starts 0.3 seconds after another program has ended it.
 */
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import {
  type Auth,
  type BaseContext,
  cachedReads,
  createAuth,
  createFunctionHelpers,
  type DataModelOf,
  defineSchema,
  defineTable,
} from '@avvos/convoy';
import { makeMutationRef } from '@avvos/convoy/client';
import { type ConvoyRequest, createConvoy } from '@avvos/convoy/node';
import pg from 'pg';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { LONG, Random } from './model/random.js';
import { controlSeed, withSeeds } from './model/seeds.js';

const SESSIONS = 24;
const CALLERS = 16;
const ENDS = LONG ? 1_500 : 60;
/** How long a session that another program has deleted may be used, as documented. */
const LATEST_MS = 300;

const schema = defineSchema({
  sessions: defineTable({ tokenHash: z.string() }).index('by_token', ['tokenHash'], { unique: true }),
  notes: defineTable({ call: z.number() }),
  claims: defineTable({ call: z.number() }).index('by_call', ['call'], { unique: true }),
  counters: defineTable({ value: z.number() }),
});
type Base = BaseContext<DataModelOf<typeof schema>>;
type Context = Base & { readonly auth: Auth; readonly began: number };
const { mutation, internalMutation, authed } = createFunctionHelpers<Context>();
const begin = makeMutationRef<{ token: string }, string>('begin');
const end = makeMutationRef<{ token: string }, null>('end');
const count = makeMutationRef<Record<string, never>, string>('count');
const TRUSTED = { context: { auth: createAuth(null), began: 0 } };
const hashOf = (token: string) => createHash('sha256').update(token).digest('hex');

/** What the test knows about a session. */
class Session {
  #ended: { readonly by: 'Convoy' | 'another program'; readonly at: number } | undefined;

  constructor(readonly token: string) {}

  endedBy(by: 'Convoy' | 'another program'): void {
    this.#ended = { by, at: performance.now() };
  }

  begins(): void {
    this.#ended = undefined;
  }

  /** Whether it must not be used by a run that began and returned at these times. */
  isOverFor(began: number, returned: number): boolean {
    if (this.#ended === undefined) return false;
    const { by, at } = this.#ended;
    return by === 'Convoy' ? at <= returned : at + LATEST_MS <= began;
  }
}

/** The functions; `returned` is called as the last thing that one does. */
function programOf(returned: (call: number, session: string, began: number) => void) {
  const writing = (write: (ctx: Context, call: number, document: string) => Promise<unknown>) =>
    authed.mutation({
      input: { call: z.number(), counter: z.string() },
      handler: async (ctx, { call, counter }) => {
        await ctx.db.insert('notes', { call });
        await write(ctx, call, counter);
        returned(call, ctx.auth.user.id, ctx.began);
      },
    });
  return {
    // One function for each way in which mutations commit.
    insert: writing(async () => {}),
    linger: writing((_ctx, call) => pause(call % 15)),
    claim: writing((ctx, call) => ctx.db.insert('claims', { call })),
    increment: writing(async (ctx, _call, id) => {
      const counter = await ctx.db.get(id as never);
      await ctx.db.patch(id as never, { value: (counter as unknown as { value: number }).value + 1 } as never);
    }),
    begin: internalMutation({
      input: { token: z.string() },
      handler: (ctx, { token }) => ctx.db.insert('sessions', { tokenHash: hashOf(token) }),
    }),
    end: internalMutation({
      input: { token: z.string() },
      handler: async (ctx, { token }) => {
        const session = await ctx.db
          .query('sessions')
          .withIndex('by_token', (q) => q.eq('tokenHash', hashOf(token)))
          .unique();
        if (session !== null) await ctx.db.delete(session.id);
      },
    }),
    count: mutation({ handler: (ctx) => ctx.db.insert('counters', { value: 0 }) }),
  };
}

async function createContext({ headers }: ConvoyRequest, base: Base) {
  const began = performance.now();
  const token = String(headers.authorization);
  const session = await cachedReads(base)
    .query('sessions')
    .withIndex('by_token', (q) => q.eq('tokenHash', hashOf(token)))
    .unique();
  return { ...base, began, auth: createAuth(session && { id: token }) };
}

/** Runs until `ENDS` sessions were ended; the accepted calls that had to be refused. */
async function lateCalls(seed: number, failpoints: readonly string[]): Promise<number[]> {
  const random = new Random(seed);
  const sessions = Array.from({ length: SESSIONS }, (_, n) => new Session(`token-${n}`));
  /** The calls whose last run used a session that was over. */
  const late = new Set<number>();
  const functions = programOf((call, token, began) => {
    const isLate = sessions.some((session) => session.token === token && session.isOverFor(began, performance.now()));
    if (isLate) late.add(call);
    else late.delete(call);
  });
  const databaseUrl = freshDatabaseUrl();
  const options = { databaseUrl, createDatabase: true, failpoints };
  const convoy = await createConvoy({ schema, functions, createContext, ...options });
  const sql = new pg.Pool({ connectionString: databaseUrl });
  try {
    const { port } = await convoy.listen({ port: 0 });
    const counter = await convoy.mutation(count, {}, TRUSTED);
    for (const { token } of sessions) await convoy.mutation(begin, { token }, TRUSTED);
    let calls = 0;
    const accepted: number[] = [];
    const callBy = async ({ token }: Session) => {
      const call = calls++;
      const name = random.pick(['insert', 'linger', 'claim', 'increment']);
      const response = await fetch(`http://127.0.0.1:${port}/api/mutation/${name}`, {
        method: 'POST',
        headers: { authorization: token, 'content-type': 'application/json' },
        body: JSON.stringify({ call, counter }),
      });
      const text = await response.text();
      if (response.status === 200) accepted.push(call);
      // Not signed in, or in conflict with other increments on every attempt: nothing was written.
      else if (![401, 409].includes(response.status)) throw new Error(`${name}: ${response.status} ${text}`);
    };
    let ends = 0;
    /** Ends these sessions one after another, and begins each again. */
    const endInTurn = async (own: readonly Session[]) => {
      while (ends < ENDS) {
        ends++;
        const session = random.pick(own);
        if (random.chance(0.7)) {
          await convoy.mutation(end, { token: session.token }, TRUSTED);
          session.endedBy('Convoy');
        } else {
          await sql.query(`delete from sessions where data->>'tokenHash' = $1`, [hashOf(session.token)]);
          session.endedBy('another program');
          await pause(random.below(2 * LATEST_MS));
        }
        await Promise.all([callBy(session), callBy(session), callBy(session)]);
        session.begins();
        await convoy.mutation(begin, { token: session.token }, TRUSTED);
        await callBy(session);
      }
    };
    const call = async () => {
      while (ends < ENDS) await callBy(random.pick(sessions));
    };
    const enders = [0, 1, 2].map((part) => endInTurn(sessions.filter((_, n) => n % 3 === part)));
    await Promise.all([...enders, ...Array.from({ length: CALLERS }, call)]);
    const { rows } = await sql.query(`select (data->>'call')::int as call from notes order by 1`);
    expect(rows.map((row) => row.call)).toEqual(accepted.toSorted((a, b) => a - b));
    expect(calls).toBeGreaterThan(accepted.length);
    return accepted.filter((accepted) => late.has(accepted));
  } finally {
    await sql.end();
    await convoy.close();
  }
}

test.each([
  ['ended-sessions', []],
  ['ended-sessions-in-serial-queues', ['alwaysSerialQueue']],
  ['ended-sessions-in-transactions', ['noOptimistic']],
])('no session is used after its end (%s, failpoints: %j)', { timeout: 600_000 }, async (name, failpoints) => {
  await withSeeds(name, async (seed) => {
    expect(await lateCalls(seed, failpoints)).toEqual([]);
  });
});

test('control: failpoint staleCachedReads is detected', async () => {
  expect(await lateCalls(controlSeed(), ['staleCachedReads'])).not.toEqual([]);
});
