/**
 * The base context of a handler: the database, the time, and calls of other functions.
 *
 * A function called within a transaction joins it: it runs here, on the operations of its caller. Any other call is a
 * separate one, started by the engine. Either way arguments and result pass through JSON, so a function behaves the same
 * wherever it is called from, and caller and callee never share an object.
 */

import { parseMaybeAsync } from '../schema/index.js';
import { isConvoyError } from '../values/errors.js';
import { nearest } from '../values/nearest.js';
import { AccessControl } from './access/access-control.js';
import { argumentsIn, argumentsJson } from './arguments.js';
import { CallDatabase } from './call-database.js';
import { DevWarnings } from './dev-warnings.js';
import { resultJson } from './encode-result.js';
import { type FunctionKind, isConvoyFunction, RESULT } from './functions.js';
import { ignore, rejected } from './observed-promise.js';
import { parseJson } from './parse-json.js';
import { callHandler, type NamedFunction, type Program } from './program.js';
import { untrackedNow } from './query-watch.js';
import { ClientRole, SYSTEM_ROLE } from './row-security/operation-role.js';
import type { Run } from './run.js';
import { Scope } from './scope.js';
import { CallLog } from './telemetry/call-log.js';
import { withBase } from './validate-context.js';

/** The deepest nesting of function calls; beyond it, the calls are taken for a cycle. */
const MAX_DEPTH = 32;

/** The shortest period of `ctx.now(everyMs)`. */
export const MIN_REFRESH_MS = 100;

/** The implementation of `BaseContext`; the public types are those of `ctx`. */
export interface Base {
  readonly db: CallDatabase;
  readonly now: (everyMs?: number) => number;
  readonly runQuery: (callee: unknown, args?: unknown) => Promise<unknown>;
  readonly runMutation: (callee: unknown, args?: unknown) => Promise<unknown>;
  readonly runAction: (callee: unknown, args?: unknown) => Promise<unknown>;
  readonly log: CallLog;
}

/** Starts a separate call of `fn`, with the context of `caller`; see `guarded` of the options. */
export type StartCall = (fn: NamedFunction, input: string, caller: Run, guarded: boolean) => Promise<unknown>;

/** The options of a base context. */
export interface BaseOptions {
  /** Runs the functions it calls outside of a transaction. */
  readonly startCall: StartCall;
  /** Whether access rules and row-level security are on, for its database and for the functions it calls. */
  readonly guarded: boolean;
}

/** The base context of `run`. */
export function baseOf(run: Run, options: BaseOptions): Base {
  const now = (everyMs?: number): number => currentTime(run, everyMs);
  return {
    db: new CallDatabase(run.call, run.program, {
      scope: run.scope,
      kind: run.fn.definition.kind,
      functionName: run.fn.name,
      access: options.guarded && run.program.hasRules ? new AccessControl(run, now) : null,
      role: run.program.rls === null ? null : options.guarded ? new ClientRole(run, now) : SYSTEM_ROLE,
    }),
    now,
    runQuery: (callee, args) => callFunction('query', { run, callee, args, options }),
    runMutation: (callee, args) => callFunction('mutation', { run, callee, args, options }),
    runAction: (callee, args) => callFunction('action', { run, callee, args, options }),
    log: new CallLog(run),
  };
}

interface FunctionCall {
  readonly run: Run;
  readonly callee: unknown;
  readonly args: unknown;
  readonly options: BaseOptions;
}

function callFunction(kind: FunctionKind, { run, callee, args, options }: FunctionCall): Promise<unknown> {
  if (run.endReason !== null) return rejected(run.endReason);
  const { call } = run;
  try {
    const fn = resolveFunction(kind, callee, run.program);
    const scope = call.scopeOf(run.scope);
    const joins = call.transactional || scope.parent !== null;
    assertAllowed(run, kind, { joins });
    const input = argumentsJson(args);
    if (joins) return join(fn, run, input, options);
    const result = run.orEnd(
      options.startCall(fn, input, run, options.guarded).catch((error: unknown) => rethrowForCaller(fn, error)),
    );
    result.catch(ignore);
    return kind === 'query' ? result : scope.observe(run.track(result));
  } catch (error) {
    // A query that cannot be run loses no write; any other unhandled failure fails the run.
    return kind === 'query' ? rejected(error) : call.rejectWrite(run.scope, error);
  }
}

/**
 * Runs `fn` as part of the transaction of `run`, in an inner scope: rolled back if `fn` throws, and ended when it returns.
 * A query has no writes to roll back, so several functions may run concurrently in it.
 */
function join(fn: NamedFunction, run: Run, input: string, options: BaseOptions): Promise<unknown> {
  // Calls made by createContext, while there is no context yet, do not count: their results are compared in the context.
  if (!fn.definition.share && run.context !== null) run.call.isShareable = false;
  if (!fn.definition.resultCache) run.call.isPure = false;
  const inScope = (scope: Scope): Promise<unknown> => runJoined(run.join(fn, scope), input, options);
  if (run.call.kind !== 'query') return run.call.transaction(inScope, run.scope);
  const scope = new Scope(run.scope);
  const end = (): void => {
    scope.ended = true;
  };
  const result = inScope(scope);
  result.then(end, end);
  return result;
}

/**
 * Parses the input, calls the handler and parses the result, as the host does for a root run. The handler runs in the
 * async context of its caller, which determines the transaction of each operation, also of closures in the context.
 */
async function runJoined(run: Run, input: string, options: BaseOptions): Promise<unknown> {
  const { name, definition } = run.fn;
  const warnings = run.program.dev ? new DevWarnings(run.program, run.call, name) : null;
  const args = await argumentsIn(input, definition.input, warnings);
  if (run.endReason !== null) throw run.endReason;
  const ctx = run.enter(withBase(run.context ?? {}, baseOf(run, options)));
  const result = await callHandler(run.program, run.fn, run.call, { context: ctx, args });
  const { returns } = definition;
  const parsed = returns === undefined ? result : await parseMaybeAsync(returns, result, RESULT);
  const { lossy } = run.call;
  lossy?.adopt(result);
  lossy?.carry(result, parsed);
  const copy: unknown = parseJson(resultJson(name, parsed, { lossy }));
  lossy?.carry(parsed, copy);
  return copy;
}

/** The function of a reference or a function value. Its errors are for the developer, never for the client. */
function resolveFunction(kind: FunctionKind, callee: unknown, { named }: Program): NamedFunction {
  const method = methodFor(kind);
  const isValue = isConvoyFunction(callee);
  const name = isValue ? undefined : (callee as { readonly name?: unknown } | null | undefined)?.name;
  if (!isValue && typeof name !== 'string') {
    throw new TypeError(`${method} takes a reference, such as api.messages.list, or a function itself.`);
  }
  const fn = named.get(isValue ? callee : (name as string));
  if (fn === undefined) {
    throw new TypeError(
      isValue
        ? `${method} was given ${withArticle(callee.kind)} that is not in this program; export it from a function file.`
        : unknownFunction(method, name as string, named),
    );
  }
  const { kind: found } = fn.definition;
  if (found !== kind) throw new TypeError(`${method}: ${fn.name} is ${withArticle(found)}; use ${methodFor(found)}.`);
  return fn;
}

function unknownFunction(method: string, name: string, named: Program['named']): string {
  const suggestion = nearest(
    name,
    [...named.values()].map((fn) => fn.name),
  );
  return `${method}: there is no function ${name}${suggestion === null ? '.' : `; did you mean ${suggestion}?`}`;
}

/** Throws if a function of kind `kind` must not be called from this run, or if the calls look like a cycle. */
function assertAllowed({ fn, depth }: Run, kind: FunctionKind, { joins }: { readonly joins: boolean }): void {
  const place = `${methodFor(kind)} in ${fn.name}`;
  const { kind: caller } = fn.definition;
  if (kind === 'mutation' && caller === 'query') {
    throw new TypeError(`${place}: a query only reads. Make it a mutation.`);
  }
  if (kind === 'action' && (caller !== 'action' || joins)) {
    const what = caller === 'action' ? 'a transaction' : withArticle(caller);
    throw new TypeError(
      `${place}: ${what} may run more than once, and the side effects of an action cannot be rolled back. ` +
        'Call it from an action, outside of transactions.',
    );
  }
  if (depth >= MAX_DEPTH) {
    throw new Error(`${place}: function calls are nested ${MAX_DEPTH} levels deep. Is there a cycle?`);
  }
}

/**
 * Rethrows the failure of a separate call as if the function had run here: an error that was not a `ConvoyError` becomes
 * a plain `Error` again, so that its message stays on the server.
 */
function rethrowForCaller({ name }: NamedFunction, error: unknown): never {
  if (!isConvoyError(error) || error.code !== 'INTERNAL') throw error;
  const where = error.errorId === undefined ? '' : ` (errorId ${error.errorId})`;
  throw new Error(`${name} failed${where}: ${error.message}`, { cause: error });
}

function currentTime({ call, program }: Run, everyMs: number | undefined): number {
  if (everyMs !== undefined) {
    if (!Number.isFinite(everyMs) || everyMs < MIN_REFRESH_MS) {
      throw new RangeError(
        `ctx.now(everyMs) takes a period in milliseconds, at least ${MIN_REFRESH_MS}; ${String(everyMs)} was given.`,
      );
    }
    call.refreshEvery(everyMs);
  } else {
    call.isPure = false;
  }
  return program.dev || call.isObserved ? untrackedNow() : Date.now();
}

function methodFor(kind: FunctionKind): string {
  return { query: 'ctx.runQuery', mutation: 'ctx.runMutation', action: 'ctx.runAction' }[kind];
}

function withArticle(kind: FunctionKind): string {
  return kind === 'action' ? 'an action' : `a ${kind}`;
}
