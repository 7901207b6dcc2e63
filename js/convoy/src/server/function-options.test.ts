import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { action, authed, internalAction, internalMutation, internalQuery, mutation, query } from './functions.js';

const handler = () => null;
const builders = {
  query,
  mutation,
  action,
  internalQuery,
  internalMutation,
  internalAction,
  'authed.query': authed.query,
};
type BuilderName = keyof typeof builders;

const define = (name: BuilderName, options: object) =>
  (builders[name] as (definition: object) => unknown)({ handler, ...options });

describe('options of a function', () => {
  it.each<[BuilderName, object]>([
    ['query', { input: {}, returns: z.null(), share: false, persist: false, http: 'GET', timeoutMs: 1 }],
    ['query', { args: {}, cache: false, maxDocumentsRead: 1, resultBytes: 1, share: true, persist: true }],
    ['query', { rateLimit: { per: 'address', tokens: 1, refillPerSecond: 1 } }],
    ['internalQuery', { share: false, timeoutMs: 1 }],
    ['mutation', { transaction: false, timeoutMs: 1, retries: 1, maxDocumentsRead: 1, maxDocumentsWritten: 1 }],
    ['mutation', { transaction: true, resultBytes: 1, rateLimit: { per: 'address', tokens: 1, refillPerSecond: 1 } }],
    ['internalMutation', { transaction: false }],
    ['action', { timeoutMs: 1, maxDocumentsRead: 1, maxDocumentsWritten: 1, resultBytes: 1 }],
    ['internalAction', { input: undefined, args: undefined, returns: undefined, transaction: undefined }],
  ])('are taken by %s: %o', (name, options) => {
    expect(() => define(name, options)).not.toThrow();
  });

  it.each<[BuilderName, object, string]>([
    ['query', { imput: {} }, 'query({ … }) has no option "imput". Did you mean input?'],
    ['query', { rateLimt: {} }, 'query({ … }) has no option "rateLimt". Did you mean rateLimit?'],
    ['mutation', { timeout: 5 }, 'mutation({ … }) has no option "timeout". Did you mean timeoutMs?'],
    ['action', { output: z.string() }, 'action({ … }) has no option "output". Did you mean returns?'],
    ['query', { shared: false }, 'query({ … }) has no option "shared". Did you mean share?'],
    ['query', { persit: false }, 'query({ … }) has no option "persit". Did you mean persist?'],
    ['authed.query', { persit: false }, 'query({ … }) has no option "persit". Did you mean persist?'],
    [
      'mutation',
      { authed: true },
      'mutation({ … }) has no option "authed". A function that needs a signed-in caller is built by authed.mutation({ … }).',
    ],
    [
      'action',
      { internal: true },
      'action({ … }) has no option "internal". An internal function is built by internalAction({ … }).',
    ],
    [
      'internalAction',
      { description: 'x' },
      'internalAction({ … }) has no option "description". The options are input, args, returns, handler, timeoutMs, ' +
        'maxDocumentsRead, resultBytes, rateLimit, maxDocumentsWritten.',
    ],
    ['query', { toString: 1 }, 'query({ … }) has no option "toString". The options are input,'],
  ])('are refused by %s if there is none of the name: %o', (name, options, message) => {
    expect(() => define(name, options)).toThrow(message);
  });

  it.each<[BuilderName, object, string]>([
    ['query', { transaction: false }, 'query({ … }): `transaction` is for mutations; this function is not one'],
    ['action', { transaction: false }, 'action({ … }): `transaction` is for mutations; this function is not one'],
    ['mutation', { share: false }, 'mutation({ … }): `share` is for queries; this function is not one, so remove it.'],
    ['internalMutation', { persist: true }, 'internalMutation({ … }): `persist` is for queries;'],
    ['mutation', { http: 'GET' }, 'mutation({ … }): `http` and `cache` are for queries that clients call;'],
    ['mutation', { cache: false }, 'mutation({ … }): `http` and `cache` are for queries that clients call;'],
    ['query', { retries: 1 }, 'query({ … }): `retries` is no limit of this kind of function; remove it.'],
  ])('are refused by %s if they are for another kind: %o', (name, options, message) => {
    expect(() => define(name, options)).toThrow(message);
  });

  it.each<[BuilderName, object, string]>([
    ['query', { share: 'no' }, 'query({ … }): `share` is true or false; "no" was given.'],
    ['query', { persist: null }, 'query({ … }): `persist` is true or false; null was given.'],
    ['mutation', { transaction: 0 }, 'mutation({ … }): `transaction` is true or false; 0 was given.'],
  ])('are refused by %s if they are neither true nor false: %o', (name, options, message) => {
    expect(() => define(name, options)).toThrow(message);
  });
});
