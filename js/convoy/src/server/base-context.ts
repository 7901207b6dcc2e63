/** `createBaseContext`: creates a base context from parts, for tests of handlers and other ways of running them. */

import type { BaseContext, UntypedModel } from './contexts.js';
import { type FunctionKind, isConvoyFunction } from './functions.js';

/** The parts of a base context. */
export interface BaseContextParts<Model = UntypedModel> {
  /** The database that handlers use; in a test, any object with the methods that they call. */
  readonly db: BaseContext<Model>['db'];
  /** By default it runs functions passed as values. Calls by reference (`api.…`) need one that can look them up. */
  readonly runQuery?: BaseContext['runQuery'];
  /** As `runQuery`. */
  readonly runMutation?: BaseContext['runMutation'];
  /** As `runQuery`. */
  readonly runAction?: BaseContext['runAction'];
  /** The clock; by default `Date.now`. */
  readonly now?: BaseContext['now'];
  /** The log; by default the methods of `console`. */
  readonly log?: BaseContext['log'];
}

/**
 * Creates a base context from `parts`, or from a database alone: `fn.handler(createBaseContext({ db }), args)`, or
 * `fn.run(…)`, which also parses arguments and result. Unlike a running Convoy, it does not check which function may call
 * which, and a mutation run with it has no transaction.
 */
export function createBaseContext<Model = UntypedModel>(
  parts: BaseContextParts<Model> | BaseContext<Model>['db'],
): BaseContext<Model> {
  const { db, now, runQuery, runMutation, runAction, log }: BaseContextParts<Model> =
    'db' in parts ? parts : { db: parts };
  const base: BaseContext<Model> = {
    db,
    now: now ?? (() => Date.now()),
    runQuery: runQuery ?? runnerOf('query', 'runQuery'),
    runMutation: runMutation ?? runnerOf('mutation', 'runMutation'),
    runAction: runAction ?? runnerOf('action', 'runAction'),
    log: log ?? console,
  };
  return base;

  /** Passes on the context it is called on, so that the called function also receives members added to the base. */
  function runnerOf(kind: FunctionKind, name: 'runQuery' | 'runMutation' | 'runAction') {
    return async function run(this: unknown, callee: unknown, args?: unknown): Promise<never> {
      if (!isConvoyFunction(callee)) {
        throw new TypeError(
          `This context cannot look up functions by name. Pass the function itself to ctx.${name}, or create the context ` +
            `with its own ${name}: createBaseContext({ db, ${name} }).`,
        );
      }
      if (callee.kind !== kind) throw new TypeError(`ctx.${name} takes a ${kind}, but was given a ${callee.kind}.`);
      return (await callee.run(this ?? base, args ?? {})) as never;
    };
  }
}
