/**
 * From what a user wrote (schema, functions, createContext) to a program the engine can load: functions in a fixed
 * order, tables ready to validate and fill. Pure; needs neither the engine nor a database.
 */

import { AsyncResource } from 'node:async_hooks';
import {
  callerInput,
  compileDefaults,
  defOf,
  describeSchema,
  type Filler,
  type ParseSubject,
  type SchemaDefinition,
  type TableDefinition,
} from '../schema/index.js';
import { DEFAULT_MAX_RESULT_BYTES } from './bounded-json.js';
import type { CreateContext } from './contexts.js';
import { type AnyConvoyFunction, isConvoyFunction } from './functions.js';
import type { FunctionDescription } from './native.js';
import type { QueryWatch } from './query-watch.js';
import { runAs } from './running-function.js';
import { CHECK_DESCRIPTION, CHECK_NAME, documentCheck } from './stored-documents.js';

/**
 * Functions by module: `{ messages: { list, send } }` is `messages.list` and `messages.send`. Folders nest; a module
 * namespace (`import * as messages`) is a module; whatever is no function is ignored.
 */
export interface FunctionTree {
  readonly [name: string]: unknown;
}

/** What a program is made of. */
export interface ProgramSource {
  readonly schema: SchemaDefinition;
  readonly functions: FunctionTree;
  readonly createContext?: CreateContext | undefined;
}

/** A function with its name. */
export interface NamedFunction {
  readonly name: string;
  readonly definition: AnyConvoyFunction;
}

/** A table made ready for calls. */
export interface Table {
  readonly name: string;
  readonly definition: TableDefinition;
  /** Fills constant defaults into a document just read. */
  readonly fill: Filler | null;
  /** The only keys a document may have, where its schema is strict; such a schema would refuse older keys. */
  readonly strictKeys: ReadonlySet<string> | null;
  /** For refusals of a document. */
  readonly subject: ParseSubject;
}

/** One version of the user's code, ready to run. */
export interface Program {
  /** The user's, and behind them the one that checks documents. */
  readonly functions: readonly NamedFunction[];
  /** The user's by name, as a reference has it, and by the function itself. */
  readonly named: ReadonlyMap<string | AnyConvoyFunction, NamedFunction>;
  readonly tables: ReadonlyMap<string, Table>;
  readonly createContext: CreateContext | undefined;
  /** Development: what is probably a mistake is warned of. */
  readonly dev: boolean;
  /** Tables whose inserts may wait for the next operation; known once the engine has loaded the program. */
  holdsInserts: ReadonlySet<string>;
  /** Watches the handlers of queries, in development. */
  readonly watch: QueryWatch | null;
  /** The largest result. */
  readonly resultBytes: number;
  /** Runs a callback in a copy of the async context the program was loaded in; no storage of another call reaches it. */
  readonly inProgramContext: <Args extends unknown[], Result>(
    callback: (...args: Args) => Result,
    ...args: Args
  ) => Result;
}

/** What a program is told beside its source. */
export interface ProgramOptions {
  readonly dev?: boolean;
  readonly watch?: QueryWatch | null;
  readonly resultBytes?: number;
}

/** Makes a program ready. Throws for a name that cannot be one. */
export function prepareProgram(source: ProgramSource, options: ProgramOptions = {}): Program {
  const { dev = false, watch = null, resultBytes = DEFAULT_MAX_RESULT_BYTES } = options;
  const functions = listFunctions(source.functions);
  const tables = Object.entries(source.schema.tables).map(
    ([name, table]) => [name, prepareTable(name, table)] as const,
  );
  const byName = new Map(tables);
  return {
    functions: [...functions, { name: CHECK_NAME, definition: documentCheck(byName) }],
    named: byNameAndValue(functions),
    tables: byName,
    createContext: source.createContext,
    dev,
    watch,
    resultBytes,
    holdsInserts: new Set(),
    inProgramContext: createProgramContext(),
  };
}

/** Calls the handler of `fn`, watched where it is to be. What it throws is thrown. */
export function callHandler(
  { dev, watch }: Program,
  { name, definition }: NamedFunction,
  context: object,
  args: unknown,
): unknown {
  if (!dev) return definition.handler(context, args);
  const run = (): unknown => runAs(name, () => definition.handler(context, args));
  return watch === null || definition.kind !== 'query' ? run() : watch.run(name, run);
}

/** The description the engine loads; functions are in the program's order. */
export function describeProgram(source: ProgramSource, options: { readonly sync: boolean }): string {
  return JSON.stringify({
    schema: describeSchema(source.schema),
    functions: [...describeFunctions(source.functions), CHECK_DESCRIPTION],
    hasContext: source.createContext !== undefined,
    sync: options.sync,
  });
}

/** Names and kinds of the functions in a tree, in a fixed order: by name. Needs no engine. */
export function describeFunctions(tree: FunctionTree): FunctionDescription[] {
  return listFunctions(tree).map(({ name, definition }) => ({
    name,
    kind: definition.kind,
    internal: definition.internal,
    share: definition.share,
    transaction: definition.transaction,
  }));
}

/** The functions of a tree with their names, in a fixed order: by name. */
export function listFunctions(tree: FunctionTree): NamedFunction[] {
  const found: NamedFunction[] = [];
  collect(tree, '', found, new Set());
  return found.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** A function exported twice goes by the first of its names. */
function byNameAndValue(functions: readonly NamedFunction[]): Map<string | AnyConvoyFunction, NamedFunction> {
  const named = new Map<string | AnyConvoyFunction, NamedFunction>();
  for (const each of functions) {
    named.set(each.name, each);
    if (!named.has(each.definition)) named.set(each.definition, each);
  }
  return named;
}

function collect(node: object, prefix: string, found: NamedFunction[], above: Set<object>): void {
  if (above.has(node)) return;
  above.add(node);
  for (const key of Object.keys(node)) {
    const value = (node as Record<string, unknown>)[key];
    const name = prefix === '' ? key : `${prefix}.${key}`;
    if (isConvoyFunction(value)) {
      if (key.includes('.') || key === '') {
        throw new TypeError(`The function ${JSON.stringify(name)} cannot be called: a name must not contain a dot.`);
      }
      found.push({ name, definition: value });
    } else if (isFolder(value, node)) {
      collect(value, name, found, above);
    }
  }
  above.delete(node);
}

/** What may hold functions. A module's own plain objects are its data; only a tree written by hand nests in them. */
function isFolder(value: unknown, parent: object): value is object {
  if (typeof value !== 'object' || value === null) return false;
  if (isNamespace(value)) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  return !isNamespace(parent) && (prototype === null || prototype === Object.prototype);
}

function isNamespace(value: object): boolean {
  return (value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag] === 'Module';
}

/** A copy for each callback, because one that calls `enterWith` would else change what all later ones see. */
function createProgramContext(): Program['inProgramContext'] {
  const loaded = new AsyncResource('convoy.program');
  const copy = (): AsyncResource => new AsyncResource('convoy.call');
  return (callback, ...args) => loaded.runInAsyncScope(copy).runInAsyncScope(callback, undefined, ...args);
}

function prepareTable(name: string, definition: TableDefinition): Table {
  return {
    name,
    definition,
    fill: compileDefaults(definition.schema),
    strictKeys: strictKeysOf(definition),
    subject: callerInput(`The document does not fit ${name}`, { table: name }),
  };
}

function strictKeysOf({ schema }: TableDefinition): ReadonlySet<string> | null {
  const def = defOf(schema);
  if (def.type !== 'object' || def.catchall === undefined || defOf(def.catchall).type !== 'never') return null;
  return new Set(Object.keys(def.shape));
}
