/**
 * Patches that are held until the function returns. Their results are made in JavaScript, and must be what Postgres
 * returns for the document later.
 */
import { type BaseContext, createFunctionHelpers, type DataModelOf, defineSchema, defineTable } from '@avvos/convoy';
import { type Convoy, createConvoy } from '@avvos/convoy/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { freshDatabaseUrl } from './app.js';
import { LONG, Random } from './model/random.js';
import { withSeeds } from './model/seeds.js';

const ROUNDS = LONG ? 2_000 : 150;

const document = {
  text: z.string(),
  number: z.number(),
  flag: z.boolean().nullable(),
  /** Documents without it have plain values only. */
  nested: z.object({ b: z.number(), a: z.string() }).optional(),
  late: z.string().optional(),
  filled: z.number().default(7),
};
const schema = defineSchema({ things: defineTable(document) });

type Context = BaseContext<DataModelOf<typeof schema>>;
const { query, mutation } = createFunctionHelpers<Context>();

const changes = z.object(document).partial();
const step = z.discriminatedUnion('do', [
  z.object({ do: z.literal('patch'), changes }),
  z.object({ do: z.literal('patchInside'), changes, throws: z.boolean() }),
  z.object({ do: z.literal('increment'), by: z.number() }),
  z.object({ do: z.literal('get') }),
]);
type Step = z.infer<typeof step>;

const functions = {
  add: mutation({ input: document, handler: (ctx, doc) => ctx.db.insert('things', doc) }),
  get: query({ input: { id: z.string() }, cache: false, handler: (ctx, { id }) => ctx.db.get('things', id as never) }),
  run: mutation({
    input: { id: z.string(), steps: z.array(step) },
    handler: async (ctx, { id: text, steps }) => {
      const id = text as never;
      const results: unknown[] = [];
      for (const each of steps) {
        let result: unknown;
        if (each.do === 'get') result = await ctx.db.get('things', id);
        else if (each.do === 'increment') result = await ctx.db.increment('things', id, 'number', each.by);
        else if (each.do === 'patch') result = await ctx.db.patch('things', id, each.changes);
        else {
          const inside = ctx.db.transaction(async () => {
            await ctx.db.patch('things', id, each.changes);
            if (each.throws) throw new Error('rolled back');
          });
          await inside.catch(() => {});
          result = await ctx.db.get('things', id);
        }
        results.push(result);
      }
      return results;
    },
  }),
};

let convoy: Convoy;
let baseUrl: string;
beforeAll(async () => {
  convoy = await createConvoy({ schema, functions, databaseUrl: freshDatabaseUrl(), createDatabase: true });
  baseUrl = `http://127.0.0.1:${(await convoy.listen({ port: 0 })).port}`;
});
afterAll(() => convoy.close());

async function call<T>(path: string, args: object): Promise<T> {
  const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(args) };
  const answer = (await (await fetch(`${baseUrl}/api/${path}`, request)).json()) as { data: T; error?: object };
  if (answer.error !== undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

const TEXTS = ['', 'a', 'é\u{1f600}', '"\\\n\u2028', '__proto__', ' x ', '\u0001'];
const NUMBERS = [0, 1, -1, 0.1, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 2 ** 53, -123_456.789];

function changesOf(random: Random): z.infer<typeof changes> {
  const all = {
    text: random.pick(TEXTS),
    number: random.pick(NUMBERS),
    flag: random.pick([true, false, null]),
    filled: random.pick(NUMBERS),
    ...(random.chance(0.1) ? { nested: { b: 1, a: 'x' } } : {}),
    ...(random.chance(0.1) ? { late: 'x' } : {}),
  };
  return Object.fromEntries(Object.entries(all).filter(() => random.chance(0.5)));
}

function stepOf(random: Random): Step {
  const kind = random.weighted({ patch: 6, patchInside: 1, increment: 1, get: 2 });
  if (kind === 'patch') return { do: kind, changes: changesOf(random) };
  if (kind === 'patchInside') return { do: kind, changes: changesOf(random), throws: random.chance(0.5) };
  return kind === 'increment' ? { do: kind, by: 1 } : { do: kind };
}

type Document = Record<string, unknown>;
const fieldsOf = ({ id: _, _creationTime: __, ...fields }: Document = {}) => fields;

test('the results of the steps of one mutation are what a query returns after each of them alone', async () => {
  await withSeeds('held-patches', async (seed) => {
    const random = new Random(seed);
    for (let round = 0; round < ROUNDS; round++) {
      const first = {
        text: 'first',
        number: 1,
        flag: null,
        filled: 1,
        ...(random.chance(0.2) ? { nested: { b: 2, a: 'y' } } : {}),
      };
      const [together, alone] = [await call<string>('mutation/add', first), await call<string>('mutation/add', first)];
      const steps = Array.from({ length: 1 + random.below(5) }, () => stepOf(random));
      const results = await call<Document[]>('mutation/run', { id: together, steps });
      for (const [at, each] of steps.entries()) {
        await call('mutation/run', { id: alone, steps: [each] });
        const expected = await call<Document>('query/get', { id: alone });
        const context = JSON.stringify({ seed, first, steps: steps.slice(0, at + 1) });
        expect(fieldsOf(results[at]), context).toEqual(fieldsOf(expected));
      }
      expect(await call('query/get', { id: together })).toEqual(results.at(-1));
    }
  });
});
