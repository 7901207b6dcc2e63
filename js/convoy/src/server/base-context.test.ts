import { expect, it } from 'vitest';
import * as z from 'zod';
import { makeActionRef } from '../protocol/refs.js';
import type { Id } from '../values/ids.js';
import { createBaseContext } from './base-context.js';
import type { BaseContext } from './contexts.js';
import { createFunctionHelpers } from './functions.js';

interface Ctx extends BaseContext {
  readonly user: string;
}
const { query, mutation } = createFunctionHelpers<Ctx>();

const db = { get: async () => ({ name: 'general' }) } as unknown as Ctx['db'];
const name = query({
  input: { id: z.string() },
  handler: async (ctx, { id }) =>
    `${(await ctx.db.get(id as Id<'channels'>))?.name} for ${ctx.user} at ${ctx.now(1_000)}`,
});
const greet = mutation({ handler: async (ctx) => `hello, ${await ctx.runQuery(name, { id: 'channels:1' })}` });

it('creates a context for a test from parts', async () => {
  const ctx: Ctx = { ...createBaseContext({ db, now: () => 7 }), user: 'ada' };
  expect(await name.run(ctx, { id: 'channels:1' })).toBe('general for ada at 7');
  expect(createBaseContext({ db }).now()).toBeGreaterThan(0);
});

it('runs functions passed as values, with the members added to the base', async () => {
  const ctx: Ctx = { ...createBaseContext(db), user: 'ada' };
  expect(await greet.run(ctx, {})).toMatch(/^hello, general for ada at \d+$/);
  expect(await ctx.runMutation(greet, {})).toMatch(/^hello, general for ada/);
  // Called without a context as `this`, it passes on the base alone.
  const { runQuery } = createBaseContext({ db, now: () => 7 });
  expect(await runQuery(name, { id: 'channels:1' })).toBe('general for undefined at 7');
});

it('parses arguments and rethrows errors of the called function', async () => {
  const ctx = createBaseContext(db);
  await expect(ctx.runQuery(name, { id: 1 } as never)).rejects.toMatchObject({ code: 'INVALID_ARGS' });
  const failing = query({ handler: () => Promise.reject(new Error('broken')) });
  await expect(ctx.runQuery(failing, {})).rejects.toThrow('broken');
});

it('rejects a reference, naming the missing part, and a function of another kind', async () => {
  const ctx = createBaseContext(db);
  await expect(ctx.runAction(makeActionRef('mail.send'))).rejects.toThrow('createBaseContext({ db, runAction })');
  await expect(ctx.runQuery(greet as never, {} as never)).rejects.toThrow(
    'ctx.runQuery takes a query, but was given a mutation',
  );
  const ctxWithRunQuery = createBaseContext({ db, runQuery: (async () => 'you') as never });
  expect(await greet.run(ctxWithRunQuery, {})).toBe('hello, you');
});
