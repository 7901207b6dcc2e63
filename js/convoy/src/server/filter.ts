/** `filter((q) => …)`: records a condition on fields and values, checks it at once, and leaves its evaluation to SQL. */

import { fieldNames } from '../schema/index.js';
import { formatId, isUuid, parseId } from '../values/ids.js';
import { formatPath, MAX_DEPTH } from '../values/json.js';
import { storageProblem } from '../values/storable-json.js';
import { describeValue, invalid, quoteName } from './argument-errors.js';
import { knownField } from './fields.js';
import type { Filter } from './operations.js';
import type { Table } from './program.js';

/** The condition on documents of `table` that `callback` returns. */
export function filterOf(table: Table, callback: unknown): Filter {
  if (typeof callback !== 'function') {
    throw invalid(`filter() takes a callback, as in filter((q) => q.eq(q.field('${firstField(table)}'), …))`);
  }
  const condition: unknown = callback(new FilterRecorder(table));
  const filter = recordedFilter(table, condition);
  if (filter !== null) return filter;
  throw invalid(
    `${table.name}: the callback of filter() must return a condition made with q, not ${describeValue(condition)}. ` +
      'The condition is evaluated in the database, so JavaScript comparisons do not work here: write ' +
      `(q) => q.eq(q.field('${firstField(table)}'), value), and combine conditions with q.and(…), q.or(…) and q.not(…)`,
  );
}

/** The `q` of a condition on documents of `table`. */
export function filterBuilder(table: Table): object {
  return new FilterRecorder(table);
}

/** A condition that was made with a `q` for `table`; `null` for any other value. */
export function recordedFilter(table: Table, condition: unknown): Filter | null {
  return condition instanceof RecordedCondition && condition.table === table ? condition.filter : null;
}

type Comparison = 'eq' | 'neq' | 'gt' | 'gte' | 'lt' | 'lte';

/** A field of a table; a private class, so that no value sent by a client can pass for one. */
class FieldOperand {
  constructor(
    readonly table: Table,
    readonly path: string,
  ) {}
}

/** A condition on documents of a table. */
class RecordedCondition {
  constructor(
    readonly table: Table,
    readonly filter: Filter,
    readonly depth: number,
  ) {}
}

/** The `q` of a filter callback. */
class FilterRecorder {
  readonly #table: Table;

  constructor(table: Table) {
    this.#table = table;
  }

  field(path: unknown): FieldOperand {
    knownField(this.#table, path, 'q.field()');
    return new FieldOperand(this.#table, path as string);
  }

  eq(field: unknown, value: unknown): RecordedCondition {
    return this.#compare('eq', field, value);
  }

  neq(field: unknown, value: unknown): RecordedCondition {
    return this.not(this.#compare('neq', field, value));
  }

  gt(field: unknown, value: unknown): RecordedCondition {
    return this.#compare('gt', field, value);
  }

  gte(field: unknown, value: unknown): RecordedCondition {
    return this.#compare('gte', field, value);
  }

  lt(field: unknown, value: unknown): RecordedCondition {
    return this.#compare('lt', field, value);
  }

  lte(field: unknown, value: unknown): RecordedCondition {
    return this.#compare('lte', field, value);
  }

  in(field: unknown, values: unknown): RecordedCondition {
    const { path } = this.#field('in', field);
    if (!Array.isArray(values))
      throw invalid(`${this.#table.name}: q.in() takes an array of values, not ${describeValue(values)}`);
    // Not `map`, which would skip holes.
    const checked = Array.from(values, (value) => this.#value('in', path, value));
    return new RecordedCondition(this.#table, { is: 'in', field: path, values: checked }, 1);
  }

  and(...conditions: readonly unknown[]): RecordedCondition {
    return this.#combine('and', conditions);
  }

  or(...conditions: readonly unknown[]): RecordedCondition {
    return this.#combine('or', conditions);
  }

  not(condition: unknown): RecordedCondition {
    const { filter, depth } = this.#condition('not', condition);
    return this.#nested({ is: 'not', of: filter }, depth);
  }

  #compare(comparison: Comparison, field: unknown, value: unknown): RecordedCondition {
    const { path } = this.#field(comparison, field);
    const checked = this.#value(comparison, path, value);
    const unordered = comparison !== 'eq' && comparison !== 'neq' && (checked === null || typeof checked === 'object');
    if (unordered) {
      throw invalid(
        `${this.#table.name}: q.${comparison}() cannot compare with ${describeValue(checked)}; give a string, a number or a boolean`,
      );
    }
    return new RecordedCondition(
      this.#table,
      { is: comparison === 'neq' ? 'eq' : comparison, field: path, value: checked },
      1,
    );
  }

  #combine(is: 'and' | 'or', conditions: readonly unknown[]): RecordedCondition {
    const operands = conditions.map((condition) => this.#condition(is, condition));
    return this.#nested(
      { is, of: operands.map(({ filter }) => filter) },
      Math.max(0, ...operands.map(({ depth }) => depth)),
    );
  }

  #nested(filter: Filter, depth: number): RecordedCondition {
    if (depth >= MAX_DEPTH) throw invalid(`${this.#table.name}: a condition is nested deeper than ${MAX_DEPTH} levels`);
    return new RecordedCondition(this.#table, filter, depth + 1);
  }

  #condition(method: string, value: unknown): RecordedCondition {
    if (value instanceof RecordedCondition && value.table === this.#table) return value;
    throw invalid(
      `${this.#table.name}: q.${method}() takes conditions made with q, not ${describeValue(value)}; write ` +
        `q.${method}(q.eq(q.field('${firstField(this.#table)}'), value))`,
    );
  }

  #field(method: string, value: unknown): FieldOperand {
    if (value instanceof FieldOperand && value.table === this.#table) return value;
    const example = quoteName(typeof value === 'string' ? value : firstField(this.#table));
    throw invalid(
      `${this.#table.name}: q.${method}() takes a field first and then a value: q.${method}(q.field(${example}), …)`,
    );
  }

  #value(method: string, path: string, value: unknown): unknown {
    const place = `${this.#table.name}: q.${method}(q.field('${path}'), …)`;
    if (value instanceof FieldOperand)
      throw invalid(`${place} compares two fields, which is not possible; give it a value`);
    const problem = storageProblem(value);
    if (problem !== null) {
      const where = problem.path.length === 0 ? 'the value' : `\`${formatPath(problem.path)}\` of the value`;
      throw invalid(`${place}: ${where} ${problem.reason}`);
    }
    return path === 'id' ? this.#id(place, value) : value;
  }

  /** Rejects an id of another table, which would never match. */
  #id(place: string, value: unknown): string {
    const { name } = this.#table;
    if (isUuid(value)) return formatId(name, value);
    const parts = parseId(value);
    if (parts?.table === name) return formatId(name, parts.uuid);
    const what = parts === null ? 'is not an id' : `is an id of ${parts.table}`;
    throw invalid(`${place}: ${describeValue(value)} ${what}; an id of ${name} is needed`);
  }
}

function firstField({ definition }: Table): string {
  return fieldNames(definition.schema)[0] ?? 'id';
}
