/**
 * Random contexts and random handlers: whoever would be given the result of another's run, by what that run has seen
 * and what their own context says, would have got the same from a run of their own.
 */

import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import { hostOf } from '../../testing/scripted-engine.js';
import { mayShare, outcome } from '../../testing/sharing.js';
import { defineSchema } from '../schema/index.js';
import type { CreateContext } from './contexts.js';
import { query } from './functions.js';

// biome-ignore lint/suspicious/noExplicitAny: these handlers do with their context whatever can be done with one.
type Ctx = any;
type Random = (below: number) => number;
type Step = (ctx: Ctx, said: unknown[]) => unknown;

const NAMES = ['a', 'b', 'toString', 'db'] as const;
const LOGGER = { log: () => 'logged' };

/** Numbers that look random and are the same in every run. */
function random(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** What a module keeps: all alike, but for who they are. */
const HELD = [{ x: 1 }, { x: 1 }, { x: 1 }];

const PLAIN: readonly ((below: Random) => unknown)[] = [
  () => 1,
  () => '1',
  () => undefined,
  () => ({ x: 1 }),
  () => ({ x: 1, y: 2 }),
  () => ({ y: 2, x: 1 }),
  () => Object.freeze({ x: 1 }),
  () => [{ x: 1 }],
  (below) => HELD[below(HELD.length)],
];

const OTHERS: readonly ((below: Random) => unknown)[] = [
  (below) => new Set([below(2)]),
  (below) => new Map([['x', below(2)]]),
  (below) => Object.create({ x: below(2) }),
  (below) => ({
    get x() {
      return below(2);
    },
  }),
  () => LOGGER,
];

/** Few values, of which many look alike; new ones each time. */
function value(below: Random): unknown {
  const values = below(5) === 0 ? OTHERS : PLAIN;
  return values[below(values.length)]?.(below);
}

function contextOf(below: Random): (base: object) => object {
  const added = NAMES.filter((name) => name === 'a' || below(name === 'b' ? 3 : 20) === 0);
  const members = added.map((name): [string, unknown] => [name, value(below)]);
  const form = below(20);
  return (base) => {
    const context = { ...base, ...Object.fromEntries(members) };
    if (form === 0) return Object.freeze(context);
    if (form === 1) return Object.assign(Object.create({ b: 'of a class' }), context);
    return context;
  };
}

/** What code can find out about a value. */
function about(given: unknown): unknown {
  if (typeof given !== 'object' || given === null) return String(given);
  const { x } = given as { x?: unknown };
  const size = given instanceof Set || given instanceof Map ? [...given].flat() : null;
  return [String(x), Object.keys(given), Object.isFrozen(given), Array.isArray(given), size, JSON.stringify(given)];
}

function step(below: Random): Step {
  const name = NAMES[below(NAMES.length)] as string;
  const shownHow = { customInspect: below(2) === 0, showProxy: below(2) === 0 };
  const steps: Step[] = [
    (ctx, said) => said.push(name === 'db' ? typeof ctx.db?.query : about(ctx[name])),
    (ctx, said) => said.push(name in ctx, Object.hasOwn(ctx, name)),
    (ctx, said) => said.push(Object.getOwnPropertyDescriptor(ctx, name)?.writable),
    (ctx, said) => said.push(Object.keys(ctx)),
    (ctx, said) => said.push(about({ ...ctx }.b)),
    (ctx, said) => said.push(Object.isFrozen(ctx)),
    (ctx, said) => said.push(HELD.indexOf(ctx[name]), ctx.a === ctx.b),
    (ctx, said) => said.push(inspect(ctx, shownHow).match(/x: \d/g)),
    (ctx, said) => said.push(typeof ctx.a === 'object' && ctx.a !== null && !Object.isFrozen(ctx.a) && ++ctx.a.x),
    (ctx, said) => said.push(Reflect.set(ctx, 'b', 'mine') && ctx.b),
    async (ctx, said) => said.push(about(await ctx.runQuery({ name: 'inner' }))),
    async () => null,
    (ctx) => {
      if (ctx.b !== undefined) throw new Error(`b is ${about(ctx.b)}`);
    },
  ];
  return steps[below(steps.length)] as Step;
}

async function answers(handler: (ctx: Ctx) => unknown, made: (base: object) => object) {
  const createContext: CreateContext = (_req, base) => made(base);
  const inner = query({ handler: (ctx: Ctx) => typeof ctx.a });
  const { call, engine } = hostOf({
    schema: defineSchema({}),
    functions: { fn: query({ handler }), inner },
    createContext,
  });
  const request = JSON.stringify({ method: 'POST', url: '/', headers: {}, ip: '::1' });
  const { seen: says } = await engine.whoAsks(request);
  const run = await call('fn', {}, request);
  return { says, run };
}

it('nobody is given what a run of their own would not have given', async () => {
  const counts = { shared: 0, unshared: 0, differing: 0, leaksIfNoTextsWereAlike: 0 };
  for (let seed = 1; seed <= 1_000; seed++) {
    const below = random(seed);
    const steps = Array.from({ length: 1 + below(3) }, () => step(below));
    const handler = async (ctx: Ctx): Promise<unknown> => {
      const said: unknown[] = [];
      for (const each of steps) await each(ctx, said);
      return said.map((one) => one ?? null);
    };
    const all = await Promise.all(Array.from({ length: 4 }, () => answers(handler, contextOf(random(below(1_000))))));
    for (const [one, other] of all.flatMap((one) => all.map((other) => [one, other] as const))) {
      if (one === other) continue;
      const isSame = JSON.stringify(outcome(one.run)) === JSON.stringify(outcome(other.run));
      const shared = mayShare(one.run.seen, other.says);
      counts[shared ? 'shared' : 'unshared']++;
      if (!isSame) counts.differing++;
      if (!isSame && mayShare(one.run.seen, other.says, true)) counts.leaksIfNoTextsWereAlike++;
      if (shared) expect(outcome(other.run), `seed ${seed}`).toEqual(outcome(one.run));
    }
  }
  // Otherwise too little would have been tried, and a leak would not have been found.
  expect(Math.min(counts.shared, counts.unshared, counts.differing)).toBeGreaterThan(500);
  expect(counts.leaksIfNoTextsWereAlike).toBeGreaterThan(10);
});
