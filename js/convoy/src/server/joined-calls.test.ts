/** The definition of a function (`share`, `input`, `returns`, …) also applies when it joins the call of another one. */

import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { hostOf, type Response } from '../../testing/scripted-engine.js';
import { makeMutationRef, makeQueryRef } from '../protocol/refs.js';
import { defineSchema, defineTable } from '../schema/index.js';
import type { CreateContext } from './contexts.js';
import { type AnyConvoyFunction, internalMutation, internalQuery, mutation, query } from './functions.js';

// biome-ignore lint/suspicious/noExplicitAny: these handlers use their context in ways that no type allows.
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
    ctx.runQuery({ name: 'between' }, { args }).then((result: unknown) => (inner.kind === 'query' ? result : null)),
  'and its failure is caught': (ctx, inner, args) =>
    (inner.kind === 'query' ? ctx.runQuery(inner, args) : ctx.runMutation(inner, args)).catch(() => 'caught'),
};

interface Outer {
  readonly kind?: 'query' | 'mutation';
  readonly way?: string;
  readonly args?: object;
  readonly contexts?: boolean;
}

/** The response of a function that calls `inner`, and the operations of its call. */
async function outerOf(
  inner: AnyConvoyFunction,
  { kind = 'query', way = 'by value', args = {}, contexts = true }: Outer = {},
): Promise<Response & { readonly ops: readonly { readonly op: string }[] }> {
  const handler = (ctx: Ctx): Promise<unknown> => WAYS[way]?.(ctx, inner, args) as Promise<unknown>;
  const between = internalQuery({
    input: { args: z.any() },
    handler: (ctx: Ctx, input) => ctx.runQuery({ name: 'inner' }, input.args) as Promise<unknown>,
  });
  const outer = kind === 'query' ? query({ handler }) : mutation({ handler });
  const made = contexts ? { createContext } : {};
  const { call, engine } = hostOf({ schema, functions: { outer, inner, between }, ...made });
  const response = await call('outer', {}, contexts ? REQUEST : undefined);
  return Object.assign(response, { ops: engine.ops });
}

const OPTED_OUT = { '@@plain': null };

describe.each(Object.keys(WAYS))('called %s, a query', (way) => {
  it.each([true, false])(
    'with `share: false` makes the result of the caller unshared, contexts: %s',
    async (contexts) => {
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
    },
  );

  it('adds its context reads to those of the caller', async () => {
    const { seen } = await outerOf(internalQuery({ handler: (ctx: Ctx) => ctx.user }), { way });
    expect(seen).toEqual({ '@@plain': 'true', user: '"ada"' });
  });

  it('sets the refresh interval of the caller', async () => {
    const aging = internalQuery({ handler: (ctx: Ctx) => ctx.now(250) });
    expect((await outerOf(aging, { way })).refreshMs).toBe(250);
  });

  it('sends the `tables` option of its statements', async () => {
    const raw = internalQuery({
      handler: (ctx: Ctx) => ctx.db.raw({ text: 'select 1', values: [] }, { tables: ['notes'] }),
    });
    expect((await outerOf(raw, { way })).ops).toMatchObject([{ op: 'raw', tables: ['notes'] }]);
  });

  it('validates its input and result', async () => {
    const picky = internalQuery({
      input: { n: z.number().default(2) },
      returns: z.object({ n: z.number() }),
      handler: (_ctx, { n }) => ({ n, more: true }),
    });
    expect((await outerOf(picky, { way })).body).toEqual({ n: 2 });
    const failed = await outerOf(picky, { way, args: { n: 'x' } });
    if (way === 'and its failure is caught') expect(failed.body).toBe('caught');
    else expect(failed.body).toMatchObject({ code: 'INVALID_ARGS' });
  });
});

it('an unshared query called by createContext does not make results unshared', async () => {
  const unshared = internalQuery({ share: false, handler: () => 'ada' });
  const { call } = hostOf({
    schema,
    functions: { outer: query({ handler: (ctx: Ctx) => ctx.user }), unshared },
    createContext: async (_req, base) => ({ ...base, user: await base.runQuery({ name: 'unshared' }) }),
  });
  expect((await call('outer', {}, REQUEST)).seen).toEqual({ '@@plain': 'true', user: '"ada"' });
});

it('a query called by a mutation is read-only, for methods and raw statements', async () => {
  const writing = internalQuery({ handler: (ctx: Ctx) => ctx.db.insert('notes', { text: 'x' }) });
  expect((await outerOf(writing, { kind: 'mutation' })).body).toMatchObject({
    thrown: { message: expect.stringMatching(/query/) },
  });
  const raw = internalQuery({ handler: (ctx: Ctx) => ctx.db.raw({ text: 'select 1', values: [] }) });
  expect((await outerOf(raw, { kind: 'mutation' })).ops).toMatchObject([{ op: 'raw', readOnly: true }]);
});

it('a mutation without a transaction joins the transaction of its caller', async () => {
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
