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

it('makes the context of a test from parts', async () => {
  const ctx: Ctx = { ...createBaseContext({ db, now: () => 7 }), user: 'ada' };
  expect(await name.run(ctx, { id: 'channels:1' })).toBe('general for ada at 7');
  expect(createBaseContext({ db }).now()).toBeGreaterThan(0);
});

it('says which part is missing', async () => {
  const ctx = createBaseContext({ db });
  await expect(greet.run(ctx, {})).rejects.toThrow('createBaseContext({ db, runQuery })');
  await expect(ctx.runAction(makeActionRef('mail.send'))).rejects.toThrow('no runAction');
  const asked = createBaseContext({ db, runQuery: (async () => 'you') as never });
  expect(await greet.run(asked, {})).toBe('hello, you');
});
