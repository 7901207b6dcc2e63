/**
 * The function behind the page of `convoy dev`: describes the input of a function, and returns the latest documents of a
 * table. An internal query added to every program in development, so it runs where the code is loaded.
 */
import * as z from 'zod';
import { convoyError } from '../values/errors.js';
import type { CallDatabase } from './call-database.js';
import { type AnyConvoyFunction, internalQuery } from './functions.js';
import type { FunctionDescription } from './native.js';
import type { NamedFunction, Table } from './program.js';

/** The name of the function. No user function can have it, since no key of a module contains a colon and spaces. */
export const DEV_QUERY_NAME = 'convoy: development';

/** The documents of a table that are returned. */
const LATEST = 20;

export type DevQueryArguments = { readonly inputOf: string } | { readonly latestOf: string };

export const DEV_QUERY_DESCRIPTION: FunctionDescription = {
  name: DEV_QUERY_NAME,
  kind: 'query',
  internal: true,
  share: false,
  transaction: true,
};

export function devQuery(functions: readonly NamedFunction[], tables: ReadonlyMap<string, Table>): AnyConvoyFunction {
  return internalQuery({
    input: z.union([z.object({ inputOf: z.string() }), z.object({ latestOf: z.string() })]),
    handler: async ({ db }, args): Promise<unknown> => {
      if ('latestOf' in args) {
        if (!tables.has(args.latestOf)) throw convoyError('NOT_FOUND', `There is no table ${args.latestOf}.`);
        // The implementation class, because there is no data model here.
        return (db as unknown as CallDatabase).system.query(args.latestOf).order('desc').take(LATEST);
      }
      const found = functions.find(({ name }) => name === args.inputOf);
      if (found === undefined) throw convoyError('NOT_FOUND', `There is no function ${args.inputOf}.`);
      const { input } = found.definition;
      if (input === undefined) return { type: 'object', properties: {} };
      // A type that JSON Schema cannot describe becomes a field for any JSON.
      return z.toJSONSchema(input as z.ZodType, { io: 'input', unrepresentable: 'any' });
    },
  }) as AnyConvoyFunction;
}
