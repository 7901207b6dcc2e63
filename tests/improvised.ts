/**
 * Functions whose handlers the test makes up when it calls them. What they give and throw comes out as it was, not as
 * JSON; an error of Convoy's comes out as the call ended with it.
 */
import { action, type ConvoyContext, internalMutation, isConvoyError, mutation, query } from '@avvos/convoy';
import { type ApiRef, makeActionRef, makeMutationRef, makeQueryRef } from '@avvos/convoy/client';
import type { Convoy, ConvoyOptions } from '@avvos/convoy/node';
import { z } from 'zod';
import { serve } from './app.js';

export type Body<T> = (ctx: ConvoyContext) => T | Promise<T>;

/** A call of each kind. */
export interface Improvised {
  query<T>(body: Body<T>): Promise<T>;
  mutation<T>(body: Body<T>): Promise<T>;
  /** A mutation without a transaction. */
  apart<T>(body: Body<T>): Promise<T>;
  action<T>(body: Body<T>): Promise<T>;
}

/** Modules to load, and the calls to make where they are. */
export function improvise() {
  const bodies = new Map<number, Body<void>>();
  let next = 0;
  const input = { body: z.number() };
  const handler = (ctx: ConvoyContext, args: { readonly body: number }): unknown => bodies.get(args.body)?.(ctx);
  const functions = {
    improvised: {
      query: query({ input, handler: handler as never }),
      mutation: mutation({ input, handler: handler as never }),
      apart: mutation({ input, handler: handler as never, transaction: false }),
      action: action({ input, handler: handler as never }),
      hidden: internalMutation({ input, handler: handler as never }),
    },
  };

  /** Gives a body a number for as long as `use` needs it. */
  async function known<T>(body: Body<T>, use: (args: { body: number }) => Promise<unknown>): Promise<T> {
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

  /** The calls, made in the program of `convoy`. */
  function on(convoy: Convoy): Improvised {
    const calling = (ref: ApiRef) => {
      const call = convoy[ref.kind].bind(convoy) as (ref: ApiRef, args: object) => Promise<unknown>;
      return <T>(body: Body<T>): Promise<T> => known(body, (args) => call(ref, args));
    };
    return {
      query: calling(makeQueryRef('improvised.query')),
      mutation: calling(makeMutationRef('improvised.mutation')),
      apart: calling(makeMutationRef('improvised.apart')),
      action: calling(makeActionRef('improvised.action')),
    };
  }
  return { functions, on, known };
}

/** A served Convoy with functions of its own and with improvised ones, ended by `close`. */
export async function serveImprovised(options: Pick<ConvoyOptions<never>, 'schema'> & Partial<ConvoyOptions<never>>) {
  const { functions, on } = improvise();
  const app = await serve({ ...options, functions: { ...functions, ...options.functions } } as never);
  return { ...app, ...on(app.convoy) };
}

/** The error a promise must end with. */
export async function failure(work: Promise<unknown>): Promise<unknown> {
  const ended = await work.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if ('error' in ended) return ended.error;
  throw new Error(`It should have failed, and gave ${JSON.stringify(ended.value)}.`);
}
