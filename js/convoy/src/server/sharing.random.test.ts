/**
 * Random contexts and handlers: if the result of one caller's run may be shared with another caller, by the reads of the
 * run and the other's context, then a run of the other caller has the same result.
 */

import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import { hostOf } from '../../testing/scripted-engine.js';
import { mayShare, outcome } from '../../testing/sharing.js';
import { defineSchema } from '../schema/index.js';
import { createAuth } from './auth.js';
import type { CreateContext } from './contexts.js';
import { query } from './functions.js';

// biome-ignore lint/suspicious/noExplicitAny: these handlers use their context in ways that no type allows.
type Ctx = any;
type Random = (below: number) => number;
type Step = (ctx: Ctx, results: unknown[]) => unknown;

const NAMES = ['a', 'b', 'toString', 'db'] as const;
const LOGGER = { log: () => 'logged' };

/** A seeded pseudo-random number generator. */
function random(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Objects of a module with equal content and different identities. */
const IDENTITIES = [{ x: 1 }, { x: 1 }, { x: 1 }];

const PLAIN: readonly ((below: Random) => unknown)[] = [
  () => 1,
  () => '1',
  () => undefined,
  () => ({ x: 1 }),
  () => ({ x: 1, y: 2 }),
  () => ({ y: 2, x: 1 }),
  () => Object.freeze({ x: 1 }),
  () => [{ x: 1 }],
  (below) => IDENTITIES[below(IDENTITIES.length)],
];

const USERS = [
  null,
  { id: 'u1', roles: ['a'], x: 1 },
  { id: 'u1', roles: ['a', 'b'], x: 1 },
  { id: 'u2', roles: ['b'], x: 1 },
  { id: 'u1', x: 2 },
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

/** A random value out of few, many of which are similar. */
function value(below: Random): unknown {
  const values = below(5) === 0 ? OTHERS : PLAIN;
  return values[below(values.length)]?.(below);
}

function contextOf(below: Random): (base: object) => object {
  const added = NAMES.filter((name) => name === 'a' || below(name === 'b' ? 3 : 20) === 0);
  const members = added.map((name): [string, unknown] => [name, value(below)]);
  const user = USERS[below(USERS.length)];
  if (user !== undefined && below(2) === 0) members.push(['auth', createAuth(user)]);
  const form = below(20);
  return (base) => {
    const context = { ...base, ...Object.fromEntries(members) };
    if (form === 0) return Object.freeze(context);
    if (form === 1) return Object.assign(Object.create({ b: 'of a class' }), context);
    return context;
  };
}

/** The observable properties of a value. */
function about(item: unknown): unknown {
  if (typeof item !== 'object' || item === null) return String(item);
  const { x } = item as { x?: unknown };
  const size = item instanceof Set || item instanceof Map ? [...item].flat() : null;
  return [String(x), Object.keys(item), Object.isFrozen(item), Array.isArray(item), size, JSON.stringify(item)];
}

function step(below: Random): Step {
  const name = NAMES[below(NAMES.length)] as string;
  const shownHow = { customInspect: below(2) === 0, showProxy: below(2) === 0 };
  const steps: Step[] = [
    (ctx, results) => results.push(name === 'db' ? typeof ctx.db?.query : about(ctx[name])),
    (ctx, results) => results.push(name in ctx, Object.hasOwn(ctx, name)),
    (ctx, results) => results.push(Object.getOwnPropertyDescriptor(ctx, name)?.writable),
    (ctx, results) => results.push(Object.keys(ctx)),
    (ctx, results) => results.push(about({ ...ctx }.b)),
    (ctx, results) => results.push(Object.isFrozen(ctx)),
    (ctx, results) => results.push(IDENTITIES.indexOf(ctx[name]), ctx.a === ctx.b),
    (ctx, results) => results.push(inspect(ctx, shownHow).match(/x: \d/g)),
    (ctx, results) => results.push(typeof ctx.a === 'object' && ctx.a !== null && !Object.isFrozen(ctx.a) && ++ctx.a.x),
    (ctx, results) => results.push(Reflect.set(ctx, 'b', 'mine') && ctx.b),
    async (ctx, results) => results.push(about(await ctx.runQuery({ name: 'inner' }))),
    (ctx, results) => results.push(ctx.auth?.can('a'), ctx.auth?.can('b')),
    (ctx, results) => results.push(ctx.auth?.user?.[name === 'a' ? 'x' : 'id'], ctx.auth?.user === null),
    (ctx, results) =>
      results.push(
        ctx.auth?.can((user: object) => 'roles' in user),
        Object.keys(ctx.auth?.user ?? {}),
      ),
    (ctx, results) => results.push(inspect(ctx.auth, shownHow).match(/x: \d/g)),
    (ctx, results) => results.push(ctx.auth?.require().roles),
    async () => null,
    (ctx) => {
      if (ctx.b !== undefined) throw new Error(`b is ${about(ctx.b)}`);
    },
  ];
  return steps[below(steps.length)] as Step;
}

async function responses(handler: (ctx: Ctx) => unknown, made: (base: object) => object) {
  const createContext: CreateContext = (_req, base) => made(base);
  const inner = query({ handler: (ctx: Ctx) => typeof ctx.a });
  const { call, engine } = hostOf({
    schema: defineSchema({}),
    functions: { fn: query({ handler }), inner },
    createContext,
  });
  const request = JSON.stringify({ method: 'POST', url: '/', headers: {}, ip: '::1' });
  const { seen: context } = await engine.readContext(request);
  const run = await call('fn', {}, request);
  return { context, run };
}

it('a shared result equals the result of a separate run', async () => {
  const counts = { shared: 0, unshared: 0, differing: 0, leaksIfNullsMatched: 0 };
  for (let seed = 1; seed <= 1_000; seed++) {
    const below = random(seed);
    const steps = Array.from({ length: 1 + below(3) }, () => step(below));
    const handler = async (ctx: Ctx): Promise<unknown> => {
      const results: unknown[] = [];
      for (const each of steps) await each(ctx, results);
      return results.map((one) => one ?? null);
    };
    const all = await Promise.all(Array.from({ length: 4 }, () => responses(handler, contextOf(random(below(1_000))))));
    for (const [one, other] of all.flatMap((one) => all.map((other) => [one, other] as const))) {
      if (one === other) continue;
      const isSame = JSON.stringify(outcome(one.run)) === JSON.stringify(outcome(other.run));
      const shared = mayShare(one.run.seen, other.context);
      counts[shared ? 'shared' : 'unshared']++;
      if (!isSame) counts.differing++;
      if (!isSame && mayShare(one.run.seen, other.context, true)) counts.leaksIfNullsMatched++;
      if (shared) expect(outcome(other.run), `seed ${seed}`).toEqual(outcome(one.run));
    }
  }
  // The test is only meaningful if enough cases of each kind occurred, and a leak would have been found.
  expect(Math.min(counts.shared, counts.unshared, counts.differing)).toBeGreaterThan(500);
  expect(counts.leaksIfNullsMatched).toBeGreaterThan(10);
});
