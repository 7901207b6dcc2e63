/**
 * Turns user code (schema, functions, createContext) into a program that the engine can load: functions in a fixed order,
 * tables prepared for validation and defaults. Pure; needs neither the engine nor a database.
 */

import { AsyncResource } from 'node:async_hooks';
import {
  callerInput,
  compileDefaults,
  defOf,
  describeSchema,
  type Filler,
  type ParseSubject,
  printable,
  type SchemaDefinition,
  type TableDefinition,
} from '../schema/index.js';
import { unstorableText } from '../values/index.js';
import { BACKFILL_DESCRIPTION, BACKFILL_NAME, defaultBackfill } from './backfill.js';
import { DEFAULT_MAX_RESULT_BYTES } from './bounded-json.js';
import type { Call } from './call.js';
import type { CreateContext } from './contexts.js';
import { DEV_QUERY_DESCRIPTION, DEV_QUERY_NAME, devQuery } from './dev-query.js';
import { type AnyConvoyFunction, isConvoyFunction } from './functions.js';
import type { FunctionDescription } from './native.js';
import { isThenable } from './observed-promise.js';
import { OPENAPI_DESCRIPTION, OPENAPI_NAME, openApiFunction } from './openapi/function.js';
import { checkedSchemes, type SecuritySchemes } from './openapi/security-schemes.js';
import { checkSource } from './program-source.js';
import { QueryWatch } from './query-watch.js';
import { routeFunction } from './route-call.js';
import { describeRoutes, listRoutes, type RouteModule } from './routes.js';
import { checkedRowLevelSecurity, type RowLevelSecurity } from './row-security/row-level-security.js';
import { runAs } from './running-function.js';
import { CHECK_DESCRIPTION, CHECK_NAME, documentCheck } from './stored-documents.js';

/**
 * Functions by module: `{ messages: { list, send } }` is `messages.list` and `messages.send`. Folders nest; a module
 * namespace (`import * as messages`) is a module; other values are ignored.
 */
export interface FunctionTree {
  readonly [name: string]: unknown;
}

/** The parts of a program. */
export interface ProgramSource {
  /** The result of `defineSchema`. */
  readonly schema: SchemaDefinition;
  /** Functions by module: `{ messages: { list, send } }`. */
  readonly functions: FunctionTree;
  /** Creates the context of each call from its request. */
  readonly createContext?: CreateContext | undefined;
  /** The HTTP routes, by the name of their export. */
  readonly routes?: RouteModule | undefined;
  /** The Postgres role under which the calls of clients run, and the settings that its policies read. */
  readonly rls?: RowLevelSecurity | undefined;
  /** What identifies a caller, for the OpenAPI document. */
  readonly securitySchemes?: SecuritySchemes | undefined;
}

/** A function with its name. */
export interface NamedFunction {
  readonly name: string;
  readonly definition: AnyConvoyFunction;
  /** Its handler answers an HTTP request. */
  readonly isRoute?: true;
}

/** A table prepared for calls. */
export interface Table {
  readonly name: string;
  readonly definition: TableDefinition;
  /** Fills constant defaults into a document just read; `null` if the schema has none. */
  readonly fill: Filler | null;
  /** The allowed keys, if the schema is strict; it would reject stored documents with keys of an older schema. */
  readonly strictKeys: ReadonlySet<string> | null;
  /** The subject of validation errors. */
  readonly subject: ParseSubject;
}

/** One version of the user code, ready to run. */
export interface Program {
  /** The user functions, followed by the internal ones of Convoy. */
  readonly functions: readonly NamedFunction[];
  /** The HTTP routes as functions. */
  readonly routes: readonly NamedFunction[];
  /** The user functions by name, as used in references, and by value. */
  readonly named: ReadonlyMap<string | AnyConvoyFunction, NamedFunction>;
  readonly tables: ReadonlyMap<string, Table>;
  readonly createContext: CreateContext | undefined;
  /** Whether any table has access rules. */
  readonly hasRules: boolean;
  /** Row-level security of Postgres; `null` without it. */
  readonly rls: RowLevelSecurity | null;
  /** Whether calls of clients may see less than trusted ones: by access rules, or by row-level security. */
  readonly guardsClients: boolean;
  /** Whether to warn about probable mistakes; only in development. */
  readonly dev: boolean;
  /** Tables to which writes may be held until the next operation; see `allowHeldWrites`. */
  holdsWrites: ReadonlySet<string>;
  /** Watches the handlers of queries: in development all of them, else those of observed calls. */
  readonly watch: QueryWatch;
  /** The maximum size of a result. */
  readonly resultBytes: number;
  /** Runs a callback in a copy of the async context the program was loaded in, without the storages of other calls. */
  readonly inProgramContext: <Args extends unknown[], Result>(
    callback: (...args: Args) => Result,
    ...args: Args
  ) => Result;
}

/** Options of a program. */
export interface ProgramOptions {
  readonly dev?: boolean;
  readonly watch?: QueryWatch;
  readonly resultBytes?: number;
}

/** Prepares a program. Throws if a part is of another kind, or has a mistake such as an invalid name. */
export function prepareProgram(source: ProgramSource, options: ProgramOptions = {}): Program {
  const { dev = false, watch = new QueryWatch(), resultBytes = DEFAULT_MAX_RESULT_BYTES } = options;
  checkSource(source);
  const functions = listFunctions(source.functions);
  const tables = Object.entries(source.schema.tables).map(
    ([name, table]) => [name, prepareTable(name, table)] as const,
  );
  const byName = new Map(tables);
  const routes = listRoutes(source.routes);
  const document = {
    routes,
    hasContext: source.createContext !== undefined,
    securitySchemes: checkedSchemes(source.securitySchemes),
  };
  return {
    functions: [
      ...functions,
      { name: CHECK_NAME, definition: documentCheck(byName) },
      { name: BACKFILL_NAME, definition: defaultBackfill(byName) },
      { name: OPENAPI_NAME, definition: openApiFunction(functions, document) },
      ...(dev ? [{ name: DEV_QUERY_NAME, definition: devQuery(functions, byName) }] : []),
    ],
    routes: routes.map(({ route }) => routeFunction(route)),
    named: byNameAndValue(functions),
    tables: byName,
    createContext: contextOf(source),
    hasRules: hasRules(source.schema),
    rls: checkedRowLevelSecurity(source.rls),
    guardsClients: guardsClients(source),
    dev,
    watch,
    resultBytes,
    holdsWrites: new Set(),
    inProgramContext: createProgramContext(),
  };
}

/**
 * Allows to hold writes to these tables, once the engine has loaded the program. With row-level security none is held: a
 * policy may refuse it, which must reject the promise of the write.
 */
export function allowHeldWrites(program: Program, tables: readonly string[]): void {
  program.holdsWrites = new Set(program.rls === null ? tables : []);
}

/**
 * How a context is made. The engine passes on the request of a client only to programs with a context; where clients are
 * guarded, every program has one, so that their calls are told from trusted ones.
 */
function contextOf(source: ProgramSource): CreateContext | undefined {
  return source.createContext ?? (guardsClients(source) ? (_request, base) => base as object : undefined);
}

function guardsClients({ schema, rls }: ProgramSource): boolean {
  return rls !== undefined || hasRules(schema);
}

function hasRules({ tables }: SchemaDefinition): boolean {
  return Object.values(tables).some(({ rules }) => rules !== null);
}

/** Calls the handler of a function, which joins or is `call`; in development it is tracked. */
export function callHandler(
  program: Program,
  fn: NamedFunction,
  call: Call,
  { context, args }: { readonly context: object; readonly args: unknown },
): unknown {
  const { name, definition } = fn;
  // A thenable, such as a query builder, does its work in `then`, which belongs to the run.
  const run = (): unknown => {
    const result = definition.handler(context, args);
    return isThenable(result) && !(result instanceof Promise) ? Promise.resolve(result) : result;
  };
  return watched(program, fn, call, program.dev ? () => runAs(name, run) : run);
}

/** Runs code of a function; of a query whose result may be kept, and of every query in development, it is watched. */
export function watched<T>({ dev, watch }: Program, { name, definition }: NamedFunction, call: Call, code: () => T): T {
  return (dev || call.isObserved) && definition.kind === 'query' ? watch.run(name, call, code) : code();
}

/** The JSON description that the engine loads, with the functions in the program's order. */
export function describeProgram(
  source: ProgramSource,
  {
    sync,
    onlyLocal = false,
    dev = false,
  }: { readonly sync: boolean; readonly onlyLocal?: boolean; readonly dev?: boolean },
): string {
  checkSource(source);
  const functions = describeFunctions(source.functions);
  const rls = checkedRowLevelSecurity(source.rls);
  return JSON.stringify({
    schema: describeSchema(source.schema),
    functions: [
      ...(onlyLocal ? functions.map(forThisProcess) : functions),
      CHECK_DESCRIPTION,
      BACKFILL_DESCRIPTION,
      OPENAPI_DESCRIPTION,
      ...(dev ? [DEV_QUERY_DESCRIPTION] : []),
    ],
    // No client sends requests, so nothing has to tell their addresses.
    routes: onlyLocal ? [] : describeRoutes(source.routes),
    hasContext: contextOf(source) !== undefined,
    ...(rls === null ? {} : { rls: { role: rls.role } }),
    sync,
  });
}

/** A function that only this process calls, without a limit for clients. */
function forThisProcess({ rateLimit: _, ...description }: FunctionDescription): FunctionDescription {
  return { ...description, internal: false };
}

/** Names and kinds of the functions in a tree, in a fixed order: by name. Needs no engine. */
export function describeFunctions(tree: FunctionTree): FunctionDescription[] {
  return listFunctions(tree).map(({ name, definition }) => ({
    name,
    kind: definition.kind,
    internal: definition.internal,
    share: definition.share,
    ...(definition.persist ? {} : { persist: false as const }),
    ...(definition.http === null ? {} : { http: definition.http }),
    ...(definition.resultCache ? {} : { resultCache: false as const }),
    ...(definition.cache === null ? {} : { cache: { maxAge: definition.cache.maxAge } }),
    ...(definition.rateLimit === null ? {} : { rateLimit: definition.rateLimit }),
    ...(Object.keys(definition.limits).length === 0 ? {} : { limits: definition.limits }),
    transaction: definition.transaction,
  }));
}

/** The functions of a tree with their names, in a fixed order: by name. */
export function listFunctions(tree: FunctionTree): NamedFunction[] {
  const found: NamedFunction[] = [];
  collect(tree, '', found, new Set());
  return found.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** Maps names and values to functions. By value, a function exported twice has the first of its names. */
function byNameAndValue(functions: readonly NamedFunction[]): Map<string | AnyConvoyFunction, NamedFunction> {
  const named = new Map<string | AnyConvoyFunction, NamedFunction>();
  for (const each of functions) {
    named.set(each.name, each);
    if (!named.has(each.definition)) named.set(each.definition, each);
  }
  return named;
}

function collect(node: object, prefix: string, found: NamedFunction[], ancestors: Set<object>): void {
  if (ancestors.has(node)) return;
  ancestors.add(node);
  for (const key of Object.keys(node)) {
    const value = (node as Record<string, unknown>)[key];
    const name = prefix === '' ? key : `${prefix}.${key}`;
    if (isConvoyFunction(value)) {
      const problem = nameProblem(key, name);
      if (problem !== null) throw new TypeError(printable(`The function "${name}" cannot be called: ${problem}.`));
      found.push({ name, definition: value });
    } else if (isFolder(value, node)) {
      collect(value, name, found, ancestors);
    }
  }
  ancestors.delete(node);
}

/** Why no function can have the key, which ends its name, or `null`. */
function nameProblem(key: string, name: string): string | null {
  if (key === '') return 'its name is empty';
  if (key.includes('.')) return 'a name must not contain a dot';
  const problem = unstorableText(name);
  return problem === null ? null : `its name ${problem}`;
}

/** Whether `value` may contain functions: a module, or a plain object outside of modules (inside, it is data). */
function isFolder(value: unknown, parent: object): value is object {
  if (typeof value !== 'object' || value === null) return false;
  if (isNamespace(value)) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  return !isNamespace(parent) && (prototype === null || prototype === Object.prototype);
}

function isNamespace(value: object): boolean {
  return (value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag] === 'Module';
}

/** Each callback runs in its own copy, so that `enterWith` in one does not affect later ones. */
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
