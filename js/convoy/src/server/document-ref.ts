/** Resolves the arguments that name a table or a document, the latter as `(id)` or `(table, id)`. */

import { formatId, isUuid, parseId } from '../values/ids.js';
import { describeValue, invalid, quoteName } from './argument-errors.js';
import type { Program, Table } from './program.js';

/** A reference to a document: its table, its bare uuid, and its full id. */
export interface Target {
  readonly table: Table;
  readonly uuid: string;
  readonly id: string;
}

/** The table with the name `name`; throws if there is none. */
export function tableNamed({ tables }: Program, name: unknown): Table {
  const table = tables.get(name as string);
  if (table !== undefined) return table;
  throw invalid(`There is no table ${quoteName(name)}; the tables are ${[...tables.keys()].join(', ')}`);
}

/** The document named by `args`. The number of arguments decides the form; with a table, a bare uuid is accepted. */
export function targetOf(program: Program, args: readonly unknown[]): Target {
  const [first, second] = args;
  if (args.length < 2) return targetById(program, first);
  const table = tableNamed(program, first);
  const uuid = isUuid(second) ? second.toLowerCase() : uuidIn(table, second);
  return { table, uuid, id: formatId(table.name, uuid) };
}

/** The document named by all of `args` but the last, and the last one, which `lastArgument` describes in the error. */
export function documentRef(
  program: Program,
  method: string,
  args: readonly unknown[],
  lastArgument: string,
): [Target, unknown] {
  if (args.length < 2) throw invalid(`${method}() takes an id and ${lastArgument}`);
  return [targetOf(program, args.slice(0, -1)), args.at(-1)];
}

function targetById(program: Program, id: unknown): Target {
  const parts = parseId(id);
  if (parts === null) throw invalid(`An id is needed, such as messages:01890c5e-…, not ${describeId(id)}`);
  const table = tableNamed(program, parts.table);
  return { table, uuid: parts.uuid, id: formatId(table.name, parts.uuid) };
}

function uuidIn(table: Table, id: unknown): string {
  const parts = parseId(id);
  if (parts?.table === table.name) return parts.uuid;
  throw invalid(`An id of ${table.name} is needed, not ${parts === null ? describeId(id) : `one of ${parts.table}`}`);
}

function describeId(id: unknown): string {
  return typeof id === 'string' ? 'a string that is none' : describeValue(id);
}
