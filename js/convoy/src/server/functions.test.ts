import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { MAX_AGE } from './function-options.js';
import {
  action,
  createFunctionHelpers,
  internalAction,
  internalMutation,
  internalQuery,
  isConvoyFunction,
  mutation,
  query,
} from './functions.js';
import { describeFunctions } from './program.js';

const anything = () => null;

describe('query and mutation', () => {
  it('make functions with the given options and handler', () => {
    const list = query({ args: { n: z.number() }, share: false, handler: anything });
    expect(list).toMatchObject({ kind: 'query', share: false, handler: anything });
    expect(Object.isFrozen(list)).toBe(true);
    expect(isConvoyFunction(list)).toBe(true);
    expect(mutation({ handler: anything })).toMatchObject({ kind: 'mutation', share: true });
    expect(createFunctionHelpers().mutation({ handler: anything }).kind).toBe('mutation');
  });

  it('have counterparts for actions and for internal functions of each kind', () => {
    const made = [query, mutation, action, internalQuery, internalMutation, internalAction].map((of) =>
      of({ handler: anything }),
    );
    expect(made.map(({ kind, internal }) => `${internal ? 'internal ' : ''}${kind}`)).toEqual([
      'query',
      'mutation',
      'action',
      'internal query',
      'internal mutation',
      'internal action',
    ]);
    expect(made.every(isConvoyFunction)).toBe(true);
    const { authed, route, ...builders } = createFunctionHelpers();
    expect(Object.keys(builders)).toHaveLength(6);
    expect(Object.keys(authed)).toEqual(Object.keys(builders));
    expect(Object.keys(route)).toContain('get');
    expect(() => internalAction({} as never)).toThrow(/^internalAction\(/);
  });

  it('record which mutations run without a transaction', () => {
    expect(mutation({ handler: anything }).transaction).toBe(true);
    expect(mutation({ transaction: false, handler: anything }).transaction).toBe(false);
    expect(internalMutation({ transaction: false, handler: anything }).transaction).toBe(false);
  });

  it('record how queries answer GET, and refuse contradictions', () => {
    expect(query({ handler: anything })).toMatchObject({ http: null, cache: null, resultCache: true });
    expect(query({ cache: false, handler: anything })).toMatchObject({ http: null, cache: null, resultCache: false });
    expect(describeFunctions({ now: query({ http: 'GET', cache: false, handler: anything }) })).toMatchObject([
      { name: 'now', http: 'GET', resultCache: false },
    ]);
    const cache = { public: true, maxAge: 60 } as const;
    const prices = query({ http: 'GET', cache, handler: anything });
    expect(prices).toMatchObject({ http: 'GET', cache });
    const yearly = { public: true, maxAge: MAX_AGE } as const;
    expect(query({ http: 'GET', cache: yearly, handler: anything }).cache).toEqual(yearly);
    expect(describeFunctions({ prices, own: query({ http: 'GET', handler: anything }) })).toMatchObject([
      { name: 'own', http: 'GET' },
      { name: 'prices', http: 'GET', cache: { maxAge: 60 } },
    ]);
    const define = (of: unknown, options: object) => () =>
      (of as (definition: object) => unknown)({ handler: anything, ...options });
    for (const of of [mutation, action, internalQuery, internalMutation]) {
      expect(define(of, { http: 'GET' })).toThrow('`http` and `cache` are for queries that clients call');
    }
    expect(define(query, { http: 'PUT' })).toThrow("`http` is 'GET'");
    expect(define(query, { cache })).toThrow("needs `http: 'GET'`");
    for (const wrong of [
      null,
      {},
      { maxAge: 1 },
      { public: true },
      ...[-1, 1.5, MAX_AGE + 1, '1'].map((maxAge) => ({ public: true, maxAge })),
    ]) {
      expect(define(query, { http: 'GET', cache: wrong }), JSON.stringify(wrong)).toThrow('{ public: true, maxAge }');
    }
    expect(define(query, { http: 'GET', cache: { ...cache, staleWhileRevalidate: 9 } })).toThrow(
      'query({ … }): `cache` has no option staleWhileRevalidate; it has public and maxAge.',
    );
    expect(define(query, { http: 'GET', cache, share: false })).toThrow('`share: false` keeps results');
  });

  it('make functions that can be run directly: parse, call, parse', async () => {
    const double = query({
      input: { n: z.coerce.number() },
      returns: z.number().transform((n) => n * 2),
      handler: (ctx, { n }) => (ctx as unknown as { plus: number }).plus + n,
    });
    expect(await double.run({ plus: 1 }, { n: '2' })).toBe(6);
    await expect(double.run({ plus: 1 }, { n: 'x' })).rejects.toMatchObject({ code: 'INVALID_ARGS' });
  });

  it.each<[string, unknown, RegExp]>([
    ['both input and args', { input: {}, args: {}, handler: anything }, /both `input` and `args`/],
    ['no handler', { input: {} }, /needs a `handler`/],
    ['no definition', undefined, /needs a `handler`/],
    ['an input that is no shape', { input: 'x', handler: anything }, /takes an object of Zod schemas/],
    [
      'null',
      { input: null, handler: anything },
      /^query\(\{ input \}\) takes .* or one z\.object\(…\); null was given\.$/,
    ],
    ['null as args', { args: null, handler: anything }, /^query\(\{ args \}\) takes an object .* null was given\.$/],
    ['a list', { input: [z.string()], handler: anything }, /takes an object of Zod schemas.* an array was given\.$/],
    ['a date', { input: new Date(), handler: anything }, /takes an object .* an instance of Date was given\.$/],
    ['an input of something else', { input: { n: 'number' }, handler: anything }, /"n" is not a Zod 4 schema/],
    ['returns that is no schema', { returns: { n: z.number() }, handler: anything }, /takes a Zod 4 schema/],
  ])('reject %s', (_, definition, message) => {
    expect(() => query(definition as never)).toThrow(message);
  });
});

describe('describeFunctions', () => {
  const list = query({ handler: anything });
  const send = mutation({ handler: anything });

  it('names functions by folder, module and export, in a fixed order', () => {
    expect(
      describeFunctions({
        messages: { send, list, helper: () => 1, limit: 5, nothing: null },
        mail: { deliver: internalAction({ handler: anything }) },
        admin: { users: { list } },
        top: mutation({ transaction: false, handler: anything }),
      }),
    ).toEqual([
      { name: 'admin.users.list', kind: 'query', internal: false, share: true, transaction: true },
      { name: 'mail.deliver', kind: 'action', internal: true, share: true, transaction: true },
      { name: 'messages.list', kind: 'query', internal: false, share: true, transaction: true },
      { name: 'messages.send', kind: 'mutation', internal: false, share: true, transaction: true },
      { name: 'top', kind: 'mutation', internal: false, share: true, transaction: false },
    ]);
  });

  it('reads own properties only, and handles cycles', () => {
    const tree: Record<string, unknown> = Object.create({ inherited: list });
    tree.own = list;
    tree.self = tree;
    tree.constructed = new (class {
      list = list;
    })();
    expect(describeFunctions(tree).map(({ name }) => name)).toEqual(['own']);
  });

  it('accepts module namespaces, whose plain objects are data', () => {
    const namespace = Object.freeze({ [Symbol.toStringTag]: 'Module', list, table: { send } });
    expect(describeFunctions({ messages: namespace }).map(({ name }) => name)).toEqual(['messages.list']);
  });

  it('rejects a name with a dot', () => {
    expect(() => describeFunctions({ 'a.b': list })).toThrow(/must not contain a dot/);
  });

  it('rejects a name that no request can have, with a message that can be printed', () => {
    expect(() => describeFunctions({ a: { '': list } })).toThrow('"a." cannot be called: its name is empty.');
    expect(() => describeFunctions({ '\ud800\n': { list } })).toThrow(
      'The function "\\u{d800}\\u{a}.list" cannot be called: its name contains an unpaired surrogate',
    );
  });
});
