/**
 * The access rules of one run: asks them about documents. A rule receives the run's context, so what it reads of it is
 * recorded like the reads of a handler, with a `db` that reads without rules. So a rule may read any table, also its own,
 * and what it reads is part of what a live query depends on.
 *
 * A document is allowed by `true` alone. Any other result denies, and so does an error; results that are no boolean and
 * errors are logged. The failure of an operation says nothing about the document, so it fails the call.
 */

import type { RuleName } from '../../schema/index.js';
import { ConvoyError, isConvoyError } from '../../values/errors.js';
import { inspectValue, invalid } from '../argument-errors.js';
import { isOperationFailure } from '../batches.js';
import { CallDatabase } from '../call-database.js';
import { filterBuilder, recordedFilter } from '../filter.js';
import type { FunctionKind } from '../functions.js';
import { isThenable, rejected } from '../observed-promise.js';
import type { Filter } from '../operations.js';
import type { Table } from '../program.js';
import { SYSTEM_ROLE } from '../row-security/operation-role.js';
import type { Run } from '../run.js';
import { SCOPE_ENDED, type Scope } from '../scope.js';
import { withBase } from '../validate-context.js';

/** A condition that no document matches. */
const NOTHING: Filter = { is: 'or', of: [] };

export class AccessControl {
  readonly #run: Run;
  readonly #now: (everyMs?: number) => number;
  /** The context of rules, by the scope of the operation. */
  readonly #contexts = new WeakMap<Scope, object>();
  /** The rules whose errors were logged in this run. */
  readonly #logged = new Set<string>();

  /** `now` is the clock of the run. */
  constructor(run: Run, now: (everyMs?: number) => number) {
    this.#run = run;
    this.#now = now;
  }

  /** Whether the rule `name` allows the documents: the one to read, insert or delete, or the one before and after. */
  allows(name: RuleName, scope: Scope, table: Table, ...documents: readonly object[]): boolean | Promise<boolean> {
    const rule = table.definition.rules?.[name];
    if (rule === undefined) return false;
    if (rule === true) return true;
    try {
      const answer = rule(this.#contextFor(scope), ...documents);
      if (!isThenable(answer)) return this.#verdict(table, name, answer);
      return new Promise((resolve) => resolve(answer)).then(
        (settled) => this.#verdict(table, name, settled),
        (error) => this.#onError(table, name, error),
      );
    } catch (error) {
      // Never thrown: other documents may have pending promises.
      return new Promise((resolve) => resolve(this.#onError(table, name, error)));
    }
  }

  /** `null` if the rule `name` allows the documents at once; else a promise, rejected with `FORBIDDEN` if it does not. */
  refusal(name: RuleName, scope: Scope, table: Table, ...documents: readonly object[]): Promise<void> | null {
    const allowed = this.allows(name, scope, table, ...documents);
    if (allowed === true) return null;
    return allowed === false ? rejected(forbidden(table)) : allowed.then((settled) => assertAllowed(table, settled));
  }

  /** The documents that may be read, in the same order; `null` in the place of each hidden one. */
  async visible<T extends object>(scope: Scope, table: Table, documents: readonly T[]): Promise<(T | null)[]> {
    const allowed = await Promise.all(documents.map((document) => this.allows('read', scope, table, document)));
    return documents.map((document, index) => (allowed[index] === true ? document : null));
  }

  /** The condition to add to a statement; `null` if the table has no `range`. */
  async range(scope: Scope, table: Table): Promise<Filter | null> {
    const { rules } = table.definition;
    if (rules?.read === undefined) return NOTHING;
    if (rules.range === undefined) return null;
    try {
      const condition = await rules.range(this.#contextFor(scope), filterBuilder(table));
      const filter = recordedFilter(table, condition);
      if (filter !== null) return filter;
      throw new TypeError(
        `range() returned ${inspectValue(condition)}; return a condition made with q, as in (ctx, q) => q.eq(q.field('owner'), ctx.user.id).`,
      );
    } catch (error) {
      this.#onError(table, 'range', error);
      return NOTHING;
    }
  }

  /**
   * Throws if a statement might read or write a table with rules. `tables` are those it reads, if it names them. The list is
   * trusted but for names in the text: views and functions of the database may read any table.
   */
  assertRaw(kind: FunctionKind, text: string, tables: readonly string[] | null): void {
    const ruled = [...this.#run.program.tables.values()].filter(({ definition }) => definition.rules !== null);
    const hint = 'Use ctx.db.system.raw(…) and check what it may return';
    if (
      kind !== 'query' ||
      tables === null ||
      ruled.some((table) => namesOf(table).some((name) => tables.includes(name)))
    ) {
      const names = ruled.map(({ name }) => name).join(', ');
      throw invalid(
        `raw() is not subject to the access rules of ${names}. ${hint}, or, in a query that reads other tables only, ` +
          'name them: raw(…, { tables: [ … ] })',
      );
    }
    const named = ruled.find((table) => namesOf(table).some((name) => hasWord(text, name)));
    if (named !== undefined) {
      throw invalid(`raw() is not subject to the access rules of ${named.name}, which this statement names. ${hint}`);
    }
    if (tables.length === 0) {
      throw invalid(
        `raw(): { tables: [] } names no table. Name those that the statement reads. If it reads none: ${hint}`,
      );
    }
  }

  #contextFor(scope: Scope): object {
    const known = this.#contexts.get(scope);
    if (known !== undefined) return known;
    const { call, program, fn, context, observer } = this.#run;
    const role = program.rls === null ? null : SYSTEM_ROLE;
    const db = new CallDatabase(call, program, { scope, kind: 'query', functionName: fn.name, role, nested: true });
    const base = { db, now: this.#now, runQuery: refuseCall, runMutation: refuseCall, runAction: refuseCall };
    const made = withBase(context ?? {}, base);
    const seen = observer === null ? made : observer.view(made);
    this.#contexts.set(scope, seen);
    return seen;
  }

  #verdict(table: Table, name: RuleName, answer: unknown): boolean {
    if (typeof answer === 'boolean') return answer;
    const hint = 'it must return true or false, and await every promise before';
    this.#log(table, name, `returned ${inspectValue(answer)}, which denies: ${hint}`);
    return false;
  }

  #onError(table: Table, name: RuleName | 'range', error: unknown): false {
    const isRead = name === 'read' || name === 'range';
    if (isOperationFailure(error) || error === SCOPE_ENDED || (!isRead && isConvoyError(error))) throw error;
    this.#log(table, name, 'failed, which denies:', error);
    return false;
  }

  /** Logs the first problem of a rule in this run, since a rule may be asked about many documents. */
  #log(table: Table, name: string, ...problem: readonly unknown[]): void {
    const rule = `${table.name}.${name}`;
    if (this.#logged.has(rule)) return;
    this.#logged.add(rule);
    console.error(`convoy: ${this.#run.fn.name}: the access rule \`${name}\` of ${table.name}`, ...problem);
  }
}

/** The names of a table in code and in Postgres. */
function namesOf({ name, definition }: Table): readonly string[] {
  return definition.name === undefined ? [name] : [name, definition.name];
}

/** Whether `name` is in a statement as a word, in any case. It may be in a text or a comment there; that is rare. */
function hasWord(text: string, name: string): boolean {
  const escaped = name.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  return new RegExp(`(?<![\\p{L}\\p{N}_$])${escaped}(?![\\p{L}\\p{N}_$])`, 'iu').test(text);
}

function assertAllowed(table: Table, allowed: boolean): void {
  if (!allowed) throw forbidden(table);
}

function forbidden({ name }: Table): ConvoyError {
  const message = `The access rules of ${name} do not allow this write.`;
  return new ConvoyError('FORBIDDEN', message, { details: { table: name } });
}

async function refuseCall(): Promise<never> {
  throw new TypeError('An access rule cannot call functions; it reads with ctx.db, or calls the code of the function.');
}
