import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { hostOf, uuid } from '../../testing/scripted-engine.js';
import { type DataModelOf, defineSchema, defineTable } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import type { Id } from '../values/ids.js';
import type { BaseContext } from './contexts.js';
import { createFunctionHelpers } from './functions.js';

const schema = defineSchema({
  cells: defineTable({ n: z.number(), tags: z.array(z.string()).optional(), filled: z.string().default('yes') }),
});
const { mutation } = createFunctionHelpers<BaseContext<DataModelOf<typeof schema>>>();
const [A, B] = [`cells:${uuid(1)}` as Id<'cells'>, `cells:${uuid(2)}` as Id<'cells'>];

const id = z.custom<Id<'cells'>>();
const functions = {
  count: mutation({
    input: { id, fails: z.boolean().default(false), changes: z.boolean().default(false) },
    handler: async (ctx, { id, fails, changes }) => {
      const cell = await ctx.db.get(id);
      if (cell === null) return null;
      const patched = await ctx.db.patch(id, { n: cell.n + 1 });
      if (fails) throw new ConvoyError('FORBIDDEN', 'No.');
      const result = { ...patched };
      if (changes) for (const received of [cell, patched]) Object.assign(received as object, { n: -1 });
      return result;
    },
  }),
  move: mutation({
    handler: async (ctx) => {
      const [a, b] = await Promise.all([ctx.db.get(A), ctx.db.get(B)]);
      await ctx.db.patch(A, { n: (a?.n ?? 0) - 1 });
      await ctx.db.patch(B, { n: (b?.n ?? 0) + 1 });
      return [a?.n, b?.n];
    },
  }),
  tag: mutation({
    input: { id },
    handler: async (ctx, { id }) => {
      const cell = await ctx.db.get(id);
      cell?.tags?.push('pushed');
      return cell?.tags;
    },
  }),
  more: mutation({
    input: { id },
    handler: async (ctx, { id }) => {
      await ctx.db.get(id);
      await ctx.db.query('cells').first();
    },
  }),
};

const answer = (of: Id<'cells'>, n: number, rest: object = {}) => ({ ok: { n, ...rest, id: of, _creationTime: 1 } });

/** Starts calls, and answers their first operations in turn. */
async function run(calls: readonly (readonly [keyof typeof functions, object])[], answers: readonly object[][]) {
  const { engine, program, indexOf } = hostOf({ schema, functions }, null);
  program.holdsWrites = new Set(['cells']);
  const ids = calls.map(([name, input]) => engine.start(indexOf(name), JSON.stringify(input)));
  await settle();
  engine.answerInTurn(ids.map((call, at) => ({ call, answers: answers[at] ?? [] })));
  await settle();
  const bodies = engine.responses.map(({ callId, body }) => [ids.indexOf(callId), body]);
  return { engine, ids, bodies };
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('calls with turns', () => {
  it('see what the calls before them have patched, one after another', async () => {
    const first = answer(A, 5);
    const { bodies, engine } = await run(
      [1, 2, 3].map(() => ['count', { id: A }] as const),
      [[first], [first], [first]],
    );
    expect(bodies).toMatchObject([
      [0, { n: 6, filled: 'yes' }],
      [1, { n: 7 }],
      [2, { n: 8 }],
    ]);
    expect(engine.responses.map(({ writes }) => writes)).toMatchObject(
      [6, 7, 8].map((n) => [{ op: 'patch', set: { n } }]),
    );
  });

  it('of other documents see these as the engine has read them', async () => {
    const { bodies } = await run(
      [
        ['count', { id: B }],
        ['move', {}],
        ['count', { id: A }],
      ],
      [[answer(B, 10)], [answer(A, 1), answer(B, 10)], [answer(A, 1)]],
    );
    expect(bodies).toMatchObject([
      [0, { n: 11 }],
      [1, [1, 11]],
      [2, { n: 1 }],
    ]);
  });

  it('do not see the writes of a call that has failed', async () => {
    const { bodies } = await run(
      [
        ['count', { id: A, fails: true }],
        ['count', { id: A }],
      ],
      [[answer(A, 1)], [answer(A, 1)]],
    );
    expect(bodies).toMatchObject([
      [0, { code: 'FORBIDDEN' }],
      [1, { n: 2 }],
    ]);
  });

  it('do not see what a handler has changed in the documents that it received', async () => {
    const { bodies } = await run(
      [
        ['count', { id: A, changes: true }],
        ['count', { id: A, changes: true }],
        ['tag', { id: B }],
        ['tag', { id: B }],
      ],
      [[answer(A, 1)], [answer(A, 1)], [answer(B, 0, { tags: ['x'] })], [answer(B, 0, { tags: ['x'] })]],
    );
    expect(bodies).toMatchObject([
      [0, { n: 2 }],
      [1, { n: 3 }],
      [2, ['x', 'pushed']],
      [3, ['x', 'pushed']],
    ]);
  });

  it('have none after a call that sends further operations, because the engine starts them again', async () => {
    const { bodies, engine, ids } = await run(
      [
        ['count', { id: A }],
        ['more', { id: A }],
        ['count', { id: A }],
      ],
      [[answer(A, 1)], [answer(A, 1)], [answer(A, 1)]],
    );
    expect(bodies).toMatchObject([[0, { n: 2 }]]);
    engine.answer(ids[1] as number, 1, [{ ok: [] }]);
    await settle();
    expect(engine.responses.map(({ callId }) => callId)).toEqual(ids.slice(0, 2));
  });

  it('have theirs after a call that has ended before its own', async () => {
    const { engine, program, indexOf } = hostOf({ schema, functions }, null);
    program.holdsWrites = new Set(['cells']);
    const ids = [1, 2, 3].map(() => engine.start(indexOf('count'), JSON.stringify({ id: A })));
    await settle();
    engine.abandon(ids[1] as number, { code: 'UNAVAILABLE', message: 'again' });
    engine.answerInTurn(ids.map((call) => ({ call, answers: [answer(A, 1)] })));
    await settle();
    expect(engine.responses.map(({ callId, body }) => [callId, (body as { n: number }).n])).toEqual([
      [ids[0], 2],
      [ids[2], 3],
    ]);
  });
});
