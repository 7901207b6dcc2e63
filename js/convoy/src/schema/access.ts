/** Access rules of a table: who may read and write its documents. */

import type { Condition, FilterBuilder } from './condition.js';

/** A document before it is stored, as the rule for inserts sees it: with its id and defaults, without a creation time. */
export type NewRow<Row> = Row extends unknown ? Omit<Row, '_creationTime'> : never;

/** A rule allows by returning `true`, or a promise of it. */
type Allowed = boolean | Promise<boolean>;

/**
 * The rules of a table. `ctx` is the context of the call; annotate it, as in `(ctx: AppContext, doc) => …`. Its `db` reads
 * without rules and cannot write. `true` in place of a function allows all. What has no rule is denied.
 */
export interface AccessRules<Row> {
  /** Whether a document is visible. A hidden document is absent for every method of `ctx.db`. */
  // biome-ignore lint/suspicious/noExplicitAny: the app's context is made in server.ts, which is loaded after the schema.
  readonly read?: true | ((ctx: any, doc: Row) => Allowed);
  /**
   * A condition that every visible document matches. It is added to the statements of queries, so that they skip hidden
   * documents in the database; `read` then decides about each document that is found.
   */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  range?(ctx: any, q: FilterBuilder<Row>): Condition | Promise<Condition>;
  /** Whether a document may be inserted. */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  readonly insert?: true | ((ctx: any, doc: NewRow<Row>) => Allowed);
  /** Whether a visible document may be changed from `before` to `after`. */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  readonly update?: true | ((ctx: any, before: Row, after: Row) => Allowed);
  /** Whether a visible document may be deleted. */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  readonly delete?: true | ((ctx: any, doc: Row) => Allowed);
}

/** The rules of a table whose documents have unknown types. */
export interface AnyAccessRules {
  readonly read?: AnyRule;
  readonly range?: (ctx: object, q: unknown) => unknown;
  readonly insert?: AnyRule;
  readonly update?: AnyRule;
  readonly delete?: AnyRule;
}

/** A rule of a table whose documents have unknown types. */
export type AnyRule = true | ((ctx: object, ...documents: readonly object[]) => unknown);

/** The kinds of rules about documents. */
export type RuleName = 'read' | 'insert' | 'update' | 'delete';

const NAMES: ReadonlySet<string> = new Set<RuleName | 'range'>(['read', 'range', 'insert', 'update', 'delete']);

/** A frozen copy of the argument of `access()`. Throws a `TypeError` if it has other members than rules. */
export function checkedRules(rules: unknown): AnyAccessRules {
  if (typeof rules !== 'object' || rules === null) {
    throw new TypeError('access() takes an object of rules: access({ read: (ctx, doc) => …, insert: … }).');
  }
  for (const [name, rule] of Object.entries(rules)) {
    if (!NAMES.has(name)) {
      throw new TypeError(
        `access(): there is no rule ${JSON.stringify(name)}; the rules are ${[...NAMES].join(', ')}.`,
      );
    }
    if (typeof rule === 'function' || rule === undefined || (rule === true && name !== 'range')) continue;
    const what = name === 'range' ? 'a function that returns a condition' : 'a function, or true to allow all';
    throw new TypeError(`access({ ${name} }) takes ${what}.`);
  }
  const { read, range } = rules as AnyAccessRules;
  if (range !== undefined && typeof read !== 'function') {
    throw new TypeError('access({ range }) narrows the rule `read`, which decides: give both.');
  }
  return Object.freeze({ ...rules });
}
