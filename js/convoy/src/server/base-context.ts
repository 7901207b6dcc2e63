/** `createBaseContext`: a base context from parts, for tests of handlers and for those who run them in another way. */

import type { BaseContext, UntypedModel } from './contexts.js';
import { type FunctionKind, isConvoyFunction } from './functions.js';

/** What a base context is made from. */
export interface BaseContextParts<Model = UntypedModel> {
  readonly db: BaseContext<Model>['db'];
  /** Unless given, it runs a function that is passed as a value. A reference (`api.…`) needs one that can look it up. */
  readonly runQuery?: BaseContext['runQuery'];
  /** Likewise. */
  readonly runMutation?: BaseContext['runMutation'];
  /** Likewise. */
  readonly runAction?: BaseContext['runAction'];
  /** The clock; `Date.now` unless given. */
  readonly now?: BaseContext['now'];
}

/**
 * The base context made of `parts`, or of a database alone: `fn.handler(createBaseContext({ db }), args)`, or
 * `fn.run(…)`, which also parses arguments and result. Nothing is checked that a running Convoy checks: who may call
 * what, and when. A mutation that is run by it is no transaction.
 */
export function createBaseContext<Model = UntypedModel>(
  parts: BaseContextParts<Model> | BaseContext<Model>['db'],
): BaseContext<Model> {
  const { db, now, runQuery, runMutation, runAction }: BaseContextParts<Model> = 'db' in parts ? parts : { db: parts };
  const base: BaseContext<Model> = {
    db,
    now: now ?? (() => Date.now()),
    runQuery: runQuery ?? runnerOf('query', 'runQuery'),
    runMutation: runMutation ?? runnerOf('mutation', 'runMutation'),
    runAction: runAction ?? runnerOf('action', 'runAction'),
  };
  return base;

  /** Runs with the context it is called on, so that what was added to the base is there in the function it runs. */
  function runnerOf(kind: FunctionKind, name: 'runQuery' | 'runMutation' | 'runAction') {
    return async function run(this: unknown, callee: unknown, args?: unknown): Promise<never> {
      if (!isConvoyFunction(callee)) {
        throw new TypeError(
          `This context knows no functions by name: pass ctx.${name} the function itself, or give the context a ${name} ` +
            `of its own: createBaseContext({ db, ${name} }).`,
        );
      }
      if (callee.kind !== kind) throw new TypeError(`ctx.${name} runs a ${kind}, and was given a ${callee.kind}.`);
      return (await callee.run(this ?? base, args ?? {})) as never;
    };
  }
}
