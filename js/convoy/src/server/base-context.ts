/** `createBaseContext`: a base context from parts, for tests of handlers and for those who run them in another way. */

import type { BaseContext, UntypedModel } from './contexts.js';

/** What a base context is made from. What is left out says so when it is called. */
export interface BaseContextParts<Model = UntypedModel> {
  readonly db: BaseContext<Model>['db'];
  readonly runQuery?: BaseContext['runQuery'];
  readonly runMutation?: BaseContext['runMutation'];
  readonly runAction?: BaseContext['runAction'];
  /** The clock; `Date.now` unless given. */
  readonly now?: BaseContext['now'];
}

/**
 * The base context made of `parts`: `fn.handler(createBaseContext({ db }), args)`, or `fn.run(…)`, which also parses
 * arguments and result. Nothing is checked that a running Convoy checks: who may call what, and when.
 */
export function createBaseContext<Model = UntypedModel>(parts: BaseContextParts<Model>): BaseContext<Model> {
  return {
    db: parts.db,
    now: parts.now ?? (() => Date.now()),
    runQuery: parts.runQuery ?? missing('runQuery'),
    runMutation: parts.runMutation ?? missing('runMutation'),
    runAction: parts.runAction ?? missing('runAction'),
  };
}

function missing(name: 'runQuery' | 'runMutation' | 'runAction') {
  return async (): Promise<never> => {
    throw new TypeError(`This context has no ${name}: give it one with createBaseContext({ db, ${name} }).`);
  };
}
