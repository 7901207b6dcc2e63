/**
 * Functions whose handlers a test passes with each call. Results and errors of the handler reach the test as the same
 * objects, not as JSON; a `ConvoyError` is the one the call failed with.
 */
import { action, type ConvoyContext, internalMutation, isConvoyError, mutation, query } from '@avvos/convoy';
import { type ApiRef, makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import type { Convoy, ConvoyOptions } from '@avvos/convoy/node';
import { z } from 'zod';
import { serve } from './app.js';

export type Body<T> = (ctx: ConvoyContext) => T | Promise<T>;

/** Calls a handler as a function of each kind. */
export interface Improvised {
  query<T>(body: Body<T>): Promise<T>;
  mutation<T>(body: Body<T>): Promise<T>;
  /** A mutation without a transaction. */
  nonTransactional<T>(body: Body<T>): Promise<T>;
  action<T>(body: Body<T>): Promise<T>;
}

/** The functions to load, and the calls to make in the Convoy that has loaded them. */
export function improvise() {
  const bodies = new Map<number, Body<void>>();
  let next = 0;
  const input = { body: z.number() };
  const handler = (ctx: ConvoyContext, args: { readonly body: number }): unknown => bodies.get(args.body)?.(ctx);
  const functions = {
    improvised: {
      query: query({ input, handler: handler as never }),
      mutation: mutation({ input, handler: handler as never }),
      nonTransactional: mutation({ input, handler: handler as never, transaction: false }),
      action: action({ input, handler: handler as never }),
      hidden: internalMutation({ input, handler: handler as never }),
    },
  };

  /** Registers a body under a number while `use` runs. */
  async function withBody<T>(body: Body<T>, use: (args: { body: number }) => Promise<unknown>): Promise<T> {
    const number = next++;
    let result: { readonly value: T } | undefined;
    let thrown: unknown;
    bodies.set(number, async (ctx) => {
      thrown = undefined;
      try {
        result = { value: await body(ctx) };
      } catch (error) {
        thrown = error;
        throw error;
      }
    });
    try {
      await use({ body: number });
    } catch (error) {
      throw thrown === undefined || isConvoyError(thrown) ? error : thrown;
    } finally {
      bodies.delete(number);
    }
    return (result as { readonly value: T }).value;
  }

  /** The calls for `convoy`. */
  function on(convoy: Convoy): Improvised {
    const calling = (ref: ApiRef) => {
      const call = convoy[ref.kind].bind(convoy) as (ref: ApiRef, args: object) => Promise<unknown>;
      return <T>(body: Body<T>): Promise<T> => withBody(body, (args) => call(ref, args));
    };
    return {
      query: calling(makeQueryRef('improvised.query')),
      mutation: calling(makeMutationRef('improvised.mutation')),
      nonTransactional: calling(makeMutationRef('improvised.nonTransactional')),
      action: calling(makeActionRef('improvised.action')),
    };
  }
  return { functions, on, withBody };
}

/** Serves a Convoy with `options.functions` and the improvised ones; `close` ends it. */
export async function serveImprovised(options: Pick<ConvoyOptions<never>, 'schema'> & Partial<ConvoyOptions<never>>) {
  const { functions, on } = improvise();
  const app = await serve({ ...options, functions: { ...functions, ...options.functions } } as never);
  return { ...app, ...on(app.convoy) };
}

/** Returns the error of a promise that must reject. */
export async function failure(work: Promise<unknown>): Promise<unknown> {
  const ended = await work.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if ('error' in ended) return ended.error;
  throw new Error(`The call should have failed, but resolved with ${JSON.stringify(ended.value)}.`);
}
