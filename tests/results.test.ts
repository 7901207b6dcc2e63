/** For any value that a function returns or throws, its caller gets a response at once, and the server survives. */
import { createFunctionHelpers, defineSchema, defineTable } from '@avvos/convoy';
import { makeQueryRef } from '@avvos/convoy/client';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';

const schema = defineSchema({ notes: defineTable({ text: z.any() }) });
const { query, mutation } = createFunctionHelpers();

function refuse(): never {
  throw new Error('no');
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

const RESULTS: Record<string, () => unknown> = {
  undefinedJson: () => ({ toJSON: () => undefined }),
  undefinedJsonLater: () => {
    let reads = 0;
    return { toJSON: () => (reads++ === 0 ? 1 : undefined) };
  },
  symbol: () => ({ toJSON: () => Symbol('x') }),
  throwing: () => ({ toJSON: refuse }),
  revoked,
  bigint: () => [1n],
  circle: () => {
    const one: { self?: object } = {};
    one.self = one;
    return one;
  },
  sparse: () => new Array(4_000_000_000),
  // biome-ignore lint/suspicious/noThenProperty: a handler may return any value.
  thenable: () => ({ then: refuse }),
};

const functions = Object.fromEntries(
  Object.entries(RESULTS).flatMap(([name, value]) => [
    [`${name}Returned`, query({ handler: value })],
    [`${name}ReturnedLate`, mutation({ handler: async () => value() })],
    [
      `${name}Thrown`,
      query({
        handler: () => {
          throw value();
        },
      }),
    ],
    [
      `${name}Written`,
      mutation({
        handler: async (ctx) => {
          const text: { x?: unknown } = {};
          await ctx.db.insert('notes', { text });
          text.x = value();
        },
      }),
    ],
    [
      `${name}Passed`,
      query({
        handler: (ctx) => ctx.runQuery(makeQueryRef<object, unknown>('undefinedJsonReturned'), value() as object),
      }),
    ],
    [`${name}Refused`, query({ returns: z.any().refine(async () => Promise.reject(value())), handler: () => 1 })],
  ]),
);

let convoy: Convoy;
let baseUrl: string;
beforeAll(async () => {
  // A function without a response fails its test with TIMEOUT.
  const options = {
    databaseUrl: freshDatabaseUrl(),
    createDatabase: true,
    limits: { queryMs: 5_000, mutationMs: 5_000 },
  };
  convoy = await createConvoy({ schema, functions, ...options });
  const { port } = await convoy.listen({ port: 0 });
  baseUrl = `http://127.0.0.1:${port}`;
});
afterAll(() => convoy.close());

it.each(Object.keys(functions))('%s gets a response', async (name) => {
  const { kind } = functions[name] as { kind: string };
  const response = await fetch(`${baseUrl}/api/${kind}/${name}`, { method: 'POST', body: '{}' });
  const { ok, data, error } = (await response.json()) as { ok: boolean; data?: unknown; error?: { code: string } };
  if (name.startsWith('undefinedJsonReturned')) expect({ ok, data }).toEqual({ ok: true, data: null });
  if (!ok) expect(['INTERNAL', 'INVALID_ARGS', 'PAYLOAD_TOO_LARGE']).toContain(error?.code);
});
