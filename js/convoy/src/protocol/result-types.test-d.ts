/** The types of results as JSON makes them, and of arguments of unions and generic functions. */
import { expectTypeOf, test } from 'vitest';
import * as z from 'zod';
import { createConvoyClient } from '../client/client.js';
import { type UseQueryArgs, useQuery } from '../react/use-query.js';
import { query } from '../server/functions.js';
import type { Id } from '../values/ids.js';
import type { ArgsOfRef, Jsonified, QueryRef, RefFor, ResultOfRef } from './refs.js';

test('a date is a string, and `undefined` is absent', () => {
  expectTypeOf<Jsonified<Date>>().toEqualTypeOf<string>();
  expectTypeOf<Jsonified<{ at: Date; gone: undefined; maybe: Date | undefined }>>().toEqualTypeOf<{
    at: string;
    maybe?: string;
  }>();
  expectTypeOf<Jsonified<{ at?: Date }>>().toEqualTypeOf<{ at?: string }>();
  expectTypeOf<Jsonified<void>>().toEqualTypeOf<null>();
  expectTypeOf<Jsonified<undefined>>().toEqualTypeOf<null>();
});

test('functions, symbols and bigints are no JSON', () => {
  expectTypeOf<Jsonified<{ n: number; call: () => void; big: bigint; sign: symbol }>>().toEqualTypeOf<{ n: number }>();
  expectTypeOf<Jsonified<bigint>>().toEqualTypeOf<never>();
});

test('collections are no JSON', () => {
  expectTypeOf<Jsonified<Map<string, number>>>().toEqualTypeOf<never>();
  expectTypeOf<Jsonified<ReadonlySet<Date>>>().toEqualTypeOf<never>();
  expectTypeOf<Jsonified<{ n: number; byName: Map<string, { at: Date }>; names?: Set<string> }>>().toEqualTypeOf<{
    n: number;
  }>();
  type Bytes = Jsonified<{ bytes: Uint8Array; view: DataView; raw: ArrayBuffer; pattern: RegExp }>;
  expectTypeOf<keyof Bytes>().toEqualTypeOf<never>();
  // An object that only resembles one.
  expectTypeOf<Jsonified<{ size: number; at: Date }>>().toEqualTypeOf<{ size: number; at: string }>();
});

test('`toJSON` decides', () => {
  expectTypeOf<Jsonified<{ price: { toJSON(): { cents: number; at: Date } } }>>().toEqualTypeOf<{
    price: { cents: number; at: string };
  }>();
});

test('unions, tuples, `unknown`, `any` and ids stay what they are', () => {
  expectTypeOf<Jsonified<{ kind: 'a'; at: Date } | { kind: 'b' } | null>>().toEqualTypeOf<
    { kind: 'a'; at: string } | { kind: 'b' } | null
  >();
  expectTypeOf<Jsonified<[Date, number]>>().toEqualTypeOf<[string, number]>();
  expectTypeOf<Jsonified<(Date | undefined)[]>>().toEqualTypeOf<(string | null)[]>();
  expectTypeOf<Jsonified<readonly Date[]>>().toEqualTypeOf<readonly string[]>();
  expectTypeOf<Jsonified<unknown>>().toEqualTypeOf<unknown>();
  // biome-ignore lint/suspicious/noExplicitAny: what is tested
  expectTypeOf<Jsonified<any>>().toEqualTypeOf<any>();
  expectTypeOf<Jsonified<{ id: Id<'channels'> }>>().toEqualTypeOf<{ id: Id<'channels'> }>();
  expectTypeOf<Jsonified<Record<string, Date>>>().toEqualTypeOf<Record<string, string>>();
});

test('a shape has the same types as its object schema', () => {
  const shape = {
    plain: z.string(),
    optional: z.number().optional(),
    withDefault: z.boolean().default(true),
    nullable: z.string().nullable(),
    coded: z.codec(z.iso.datetime(), z.date(), {
      decode: (text) => new Date(text),
      encode: (date) => date.toISOString(),
    }),
  };
  const byShape = query({ input: shape, handler: (_ctx, args) => args });
  const bySchema = query({ input: z.object(shape), handler: (_ctx, args) => args });
  type ByShape = RefFor<'shape', typeof byShape>;
  type BySchema = RefFor<'schema', typeof bySchema>;
  expectTypeOf<ArgsOfRef<ByShape>>().toEqualTypeOf<ArgsOfRef<BySchema>>();
  expectTypeOf<ResultOfRef<ByShape>>().toEqualTypeOf<ResultOfRef<BySchema>>();
  expectTypeOf<ArgsOfRef<ByShape>>().toEqualTypeOf<{
    plain: string;
    optional?: number | undefined;
    withDefault?: boolean | undefined;
    nullable: string | null;
    coded: string;
  }>();
});

test('arguments of a union are checked by each option', () => {
  const search = query({
    input: z.union([
      z.object({ by: z.literal('text'), text: z.string() }),
      z.object({ by: z.literal('age'), age: z.number() }),
    ]),
    handler: () => 1,
  });
  const ref = { kind: 'query', name: 'search' } as RefFor<'search', typeof search>;
  useQuery(ref, { by: 'age', age: 3 });
  // @ts-expect-error the option has no text
  useQuery(ref, { by: 'age', text: 'a' });
});

test('a wrapper of a hook or a method takes references of a type parameter', () => {
  // biome-ignore lint/suspicious/noExplicitAny: any query
  const useOwn = <Ref extends QueryRef<any, any>>(ref: Ref, ...args: UseQueryArgs<Ref>) => {
    createConvoyClient().liveQuery(ref, {} as ArgsOfRef<Ref>);
    return useQuery(ref, ...args).data;
  };
  const list = { kind: 'query', name: 'list' } as QueryRef<{ id: string }, Date[], 'list'>;
  const one = { kind: 'query', name: 'one' } as QueryRef<{ id: string }, number, 'one'>;
  expectTypeOf(useOwn(list, { id: 'a' })).toEqualTypeOf<string[] | null>();
  expectTypeOf(useQuery(Math.random() < 1 ? list : one, { id: 'a' }).data).toEqualTypeOf<string[] | number | null>();
});
