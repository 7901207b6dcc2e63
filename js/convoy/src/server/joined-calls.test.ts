/** What a function says of itself holds as well where another one calls it and it becomes a part of that one's call. */

import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { hostOf, type Response } from '../../testing/scripted-engine.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { defineSchema, defineTable } from '../schema/index.js';
import type { CreateContext } from './contexts.js';
import { type AnyConvoyFunction, internalMutation, internalQuery, mutation, query } from './functions.js';

// biome-ignore lint/suspicious/noExplicitAny: these handlers do what types forbid.
type Ctx = any;

const schema = defineSchema({ notes: defineTable({ text: z.string() }) });
const REQUEST = JSON.stringify({ method: 'POST', url: '/', headers: { authorization: 'ada' } });
const createContext: CreateContext = (req, base) => ({ ...base, user: req.headers.authorization, team: 't' });

/** How one function calls another. */
const WAYS: Record<string, (ctx: Ctx, inner: AnyConvoyFunction, args: object) => Promise<unknown>> = {
  'by value': (ctx, inner, args) => (inner.kind === 'query' ? ctx.runQuery(inner, args) : ctx.runMutation(inner, args)),
  'by reference': (ctx, inner, args) =>
    inner.kind === 'query'
      ? ctx.runQuery(makeQueryRef('inner'), args)
      : ctx.runMutation(makeMutationRef('inner'), args),
  'through another': (ctx, inner, args) =>
    ctx.runQuery({ name: 'between' }, { args }).then((answer: unknown) => (inner.kind === 'query' ? answer : null)),
  'and its failure is caught': (ctx, inner, args) =>
    (inner.kind === 'query' ? ctx.runQuery(inner, args) : ctx.runMutation(inner, args)).catch(() => 'caught'),
};

interface Outer {
  readonly kind?: 'query' | 'mutation';
  readonly way?: string;
  readonly args?: object;
  readonly contexts?: boolean;
}

/** The answer of a function that calls `inner`, and the operations of its call. */
async function outerOf(
  inner: AnyConvoyFunction,
  { kind = 'query', way = 'by value', args = {}, contexts = true }: Outer = {},
): Promise<Response & { readonly ops: readonly { readonly op: string }[] }> {
  const handler = (ctx: Ctx): Promise<unknown> => WAYS[way]?.(ctx, inner, args) as Promise<unknown>;
  const between = internalQuery({
    input: { args: z.any() },
    handler: (ctx: Ctx, given) => ctx.runQuery({ name: 'inner' }, given.args) as Promise<unknown>,
  });
  const outer = kind === 'query' ? query({ handler }) : mutation({ handler });
  const made = contexts ? { createContext } : {};
  const { call, engine } = hostOf({ schema, functions: { outer, inner, between }, ...made });
  const response = await call('outer', {}, contexts ? REQUEST : undefined);
  return Object.assign(response, { ops: engine.ops });
}

const OPTED_OUT = { '@@plain': null };

describe.each(Object.keys(WAYS))('called %s, a query keeps', (way) => {
  it.each([true, false])('that its results are not shared, contexts: %s', async (contexts) => {
    const unshared = internalQuery({ share: false, handler: () => 1 });
    expect((await outerOf(unshared, { way, contexts })).seen).toEqual(OPTED_OUT);
    const failing = internalQuery({
      share: false,
      handler: () => {
        throw new Error('no');
      },
    });
    expect((await outerOf(failing, { way, contexts })).seen).toEqual(OPTED_OUT);
    const shared = await outerOf(internalQuery({ handler: () => 1 }), { way, contexts });
    expect(shared.seen).toEqual(contexts ? { '@@plain': 'true' } : null);
  });

  it('what it has looked at of its caller', async () => {
    const { seen } = await outerOf(internalQuery({ handler: (ctx: Ctx) => ctx.user }), { way });
    expect(seen).toEqual({ '@@plain': 'true', user: '"ada"' });
  });

  it('how old its answer may become', async () => {
    const aging = internalQuery({ handler: (ctx: Ctx) => ctx.now(250) });
    expect((await outerOf(aging, { way })).refreshMs).toBe(250);
  });

  it('the tables it says its statements read', async () => {
    const raw = internalQuery({
      handler: (ctx: Ctx) => ctx.db.raw({ text: 'select 1', values: [] }, { tables: ['notes'] }),
    });
    expect((await outerOf(raw, { way })).ops).toMatchObject([{ op: 'raw', tables: ['notes'] }]);
  });

  it('what it takes and gives', async () => {
    const picky = internalQuery({
      input: { n: z.number().default(2) },
      returns: z.object({ n: z.number() }),
      handler: (_ctx, { n }) => ({ n, more: true }),
    });
    expect((await outerOf(picky, { way })).body).toEqual({ n: 2 });
    const refused = await outerOf(picky, { way, args: { n: 'x' } });
    if (way === 'and its failure is caught') expect(refused.body).toBe('caught');
    else expect(refused.body).toMatchObject({ code: 'INVALID_ARGS' });
  });
});

it('what createContext has called does not count: what came of it is compared', async () => {
  const unshared = internalQuery({ share: false, handler: () => 'ada' });
  const { call } = hostOf({
    schema,
    functions: { outer: query({ handler: (ctx: Ctx) => ctx.user }), unshared },
    createContext: async (_req, base) => ({ ...base, user: await base.runQuery({ name: 'unshared' }) }),
  });
  expect((await call('outer', {}, REQUEST)).seen).toEqual({ '@@plain': 'true', user: '"ada"' });
});

it('a query that a mutation calls only reads, by methods and by statements', async () => {
  const writing = internalQuery({ handler: (ctx: Ctx) => ctx.db.insert('notes', { text: 'x' }) });
  expect((await outerOf(writing, { kind: 'mutation' })).body).toMatchObject({
    thrown: { message: expect.stringMatching(/query/) },
  });
  const raw = internalQuery({ handler: (ctx: Ctx) => ctx.db.raw({ text: 'select 1', values: [] }) });
  expect((await outerOf(raw, { kind: 'mutation' })).ops).toMatchObject([{ op: 'raw', readOnly: true }]);
});

it('a mutation without a transaction is part of the one it is called in', async () => {
  const each = internalMutation({
    transaction: false,
    handler: async (ctx: Ctx) => {
      await ctx.db.insert('notes', { text: 'a' });
      throw new Error('no');
    },
  });
  const { ops } = await outerOf(each, { kind: 'mutation', way: 'and its failure is caught' });
  expect(ops.map(({ op }) => op)).toEqual(['savepoint', 'insert', 'rollback']);
});
