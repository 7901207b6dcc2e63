/** Functions that fail in every way that was thought of, on data, an environment and paths that must stay inside. */
import { strictEqual } from 'node:assert';
import { readFileSync } from 'node:fs';
import { action, ConvoyError, defineSchema, defineTable, mutation, query, route } from '@avvos/convoy';
import { z } from 'zod';
import { CAUSES } from './causes.mjs';

export const schema = defineSchema({
  secrets: defineTable({ owner: z.string(), n: z.number() }).index('by_owner', ['owner'], { unique: true }),
  watched: defineTable({ text: z.string() }),
});

const input = { how: z.string() };
const handler = (ctx, { how }) => {
  const cause = CAUSES[how];
  if (cause === undefined) throw new Error(`no cause ${how}`);
  return cause(ctx);
};

export const functions = {
  fail: {
    query: query({ input, handler }),
    cached: query({ input, handler, http: 'GET' }),
    mutation: mutation({ input, handler }),
    loose: mutation({ input, handler, transaction: false }),
    action: action({ input, handler }),
    nested: action({
      input,
      handler: (ctx, args) => ctx.runMutation({ kind: 'mutation', name: 'fail.mutation' }, args),
    }),
    fine: query({ handler: () => 'fine' }),
  },
};

export const createContext = async (request, base) => {
  const how = request.headers['x-context'];
  if (how === undefined) return { ...base, user: null };
  return CONTEXTS[how](base);
};

const CONTEXTS = {
  throws: () => {
    throw new Error(`no key ${process.env.CANARY_ENV}`);
  },
  rejects: () => Promise.reject(new Error(`no key ${process.env.CANARY_ENV}`)),
  file: () => readFileSync(`${process.env.CANARY_PATH}/keys.json`),
  string: () => Promise.reject(process.env.CANARY_ENV),
  asserts: () => strictEqual(process.env.CANARY_ENV, 'x'),
  none: () => null,
  expiry: (base) => ({ ...base, expiresAt: process.env.CANARY_ENV }),
  // Not a failure by itself; it is compared with others.
  map: (base) => ({ ...base, keys: new Map([[process.env.CANARY_ENV, 1]]) }),
  refuses: () => {
    throw new ConvoyError('UNAUTHORIZED', 'Sign in.', { cause: new Error(process.env.CANARY_ENV) });
  },
};
export const contexts = Object.keys(CONTEXTS).filter((how) => how !== 'map');

export const routes = {
  fail: route.all('/fail/:how', (ctx, _request, { how }) => handler(ctx, { how })),
  late: route.get('/late', () => {
    const failing = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode('begin')),
      pull: () => Promise.reject(new Error(process.env.CANARY_ENV)),
    });
    return new Response(failing);
  }),
  header: route.get('/header', () => ({ status: 200, headers: { 'x-a': process.env.CANARY_ENV } })),
  calls: route.get('/calls/:how', (ctx, _request, { how }) =>
    ctx.runMutation({ kind: 'mutation', name: 'fail.mutation' }, { how }),
  ),
};
