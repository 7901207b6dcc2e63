/**
 * What a handler is given by us: the database, the time, and the other functions.
 *
 * A function called within a transaction becomes part of it: it runs here, on the operations of its caller. Any other
 * is a call of its own, which the engine begins and ends. Either way it is called with what JSON makes of the arguments
 * and answers with what JSON makes of its result, so it does the same wherever it is called from, and nobody holds an
 * object that somebody else changes.
 */

import { parseEarliest } from '../schema/index.js';
import { isConvoyError } from '../values/errors.js';
import { nearest } from '../values/nearest.js';
import { argumentsIn, argumentsJson } from './arguments.js';
import { CallDatabase } from './call-database.js';
import { DevWarnings } from './dev-warnings.js';
import { resultJson } from './encode-result.js';
import { type FunctionKind, isConvoyFunction, RESULT } from './functions.js';
import { failed, ignore } from './observed-promise.js';
import { callHandler, type NamedFunction, type Program } from './program.js';
import { unwatchedNow } from './query-watch.js';
import type { Run } from './run.js';
import { Scope } from './scope.js';
import { withBase } from './validate-context.js';

/** How many functions may call one another; more is a circle. */
const MAX_DEPTH = 32;

/** How often a query may ask to run again. */
const SHORTEST_REFRESH_MS = 100;

/** The running form of `BaseContext`; the types are checked where `ctx` is typed. */
export interface Base {
  readonly db: CallDatabase;
  readonly now: (everyMs?: number) => number;
  readonly runQuery: (callee: unknown, args?: unknown) => Promise<unknown>;
  readonly runMutation: (callee: unknown, args?: unknown) => Promise<unknown>;
  readonly runAction: (callee: unknown, args?: unknown) => Promise<unknown>;
}

/** Makes a call of its own to `fn`, with the context of `caller`. */
export type CallElsewhere = (fn: NamedFunction, input: string, caller: Run) => Promise<unknown>;

/** The base of `run`, whose calls outside of a transaction go `elsewhere`. */
export function baseOf(run: Run, elsewhere: CallElsewhere): Base {
  return {
    db: new CallDatabase(run.call, run.program, {
      scope: run.scope,
      kind: run.fn.definition.kind,
      functionName: run.fn.name,
    }),
    now: (everyMs) => timeFor(run, everyMs),
    runQuery: (callee, args) => callFunction('query', { run, callee, args, elsewhere }),
    runMutation: (callee, args) => callFunction('mutation', { run, callee, args, elsewhere }),
    runAction: (callee, args) => callFunction('action', { run, callee, args, elsewhere }),
  };
}

interface Asked {
  readonly run: Run;
  readonly callee: unknown;
  readonly args: unknown;
  readonly elsewhere: CallElsewhere;
}

function callFunction(kind: FunctionKind, { run, callee, args, elsewhere }: Asked): Promise<unknown> {
  if (run.why !== null) return failed(run.why);
  const { call } = run;
  try {
    const fn = functionMeant(kind, callee, run.program);
    const scope = call.scopeOf(run.scope);
    const joins = call.transactional || scope.parent !== null;
    mustAllow(run, kind, { joins });
    const input = argumentsJson(args);
    if (joins) return join(fn, run, input, elsewhere);
    const answer = run.orEnd(elsewhere(fn, input, run).catch((error: unknown) => throwAsHere(fn, error)));
    answer.catch(ignore);
    return kind === 'query' ? answer : scope.watch(run.track(answer));
  } catch (error) {
    // A query that could not be run is nothing lost; anything else fails the run where nobody looks.
    return kind === 'query' ? failed(error) : call.refuse(run.scope, error);
  }
}

/**
 * Runs `fn` as a part of the transaction that `run` is in, in a scope of its own: undone where it throws, and ended when
 * it has returned. In a query there is nothing to undo, so several may run at once.
 */
function join(fn: NamedFunction, run: Run, input: string, elsewhere: CallElsewhere): Promise<unknown> {
  // What createContext asks, which is before there is a context, is part of the context and compared as that.
  if (!fn.definition.share && run.context !== null) run.call.isShareable = false;
  const inside = (scope: Scope): Promise<unknown> => runHere(run.join(fn, scope), input, elsewhere);
  if (run.call.kind !== 'query') return run.call.transaction(inside, run.scope);
  const scope = new Scope(run.scope);
  const end = (): void => {
    scope.ended = true;
  };
  const answer = inside(scope);
  answer.then(end, end);
  return answer;
}

/**
 * Parses, calls and parses as the host does for a call from outside. The handler runs in the async context of its
 * caller, because that tells which transaction an operation belongs to, also for what the context closes over.
 */
async function runHere(run: Run, input: string, elsewhere: CallElsewhere): Promise<unknown> {
  const { name, definition } = run.fn;
  const warnings = run.program.dev ? new DevWarnings(run.program, run.call, name) : null;
  const args = await argumentsIn(input, definition.input, warnings);
  if (run.why !== null) throw run.why;
  const ctx = run.enter(withBase(run.context ?? {}, baseOf(run, elsewhere)));
  const result = await callHandler(run.program, run.fn, ctx, args);
  const { returns } = definition;
  const answer = returns === undefined ? result : await parseEarliest(returns, result, RESULT);
  const { lossy } = run.call;
  lossy?.adopt(result);
  lossy?.carry(result, answer);
  const given: unknown = JSON.parse(resultJson(name, answer, { lossy }));
  lossy?.carry(answer, given);
  return given;
}

/** The function a reference or a function value stands for. Refusals are for the developer, not for the client. */
function functionMeant(kind: FunctionKind, callee: unknown, { named }: Program): NamedFunction {
  const asked = methodFor(kind);
  const isValue = isConvoyFunction(callee);
  const name = isValue ? undefined : (callee as { readonly name?: unknown } | null | undefined)?.name;
  if (!isValue && typeof name !== 'string') {
    throw new TypeError(`${asked} takes a reference, such as api.messages.list, or a function itself.`);
  }
  const fn = named.get(isValue ? callee : (name as string));
  if (fn === undefined) {
    throw new TypeError(
      isValue
        ? `${asked} was given a ${callee.kind} that this program does not have; is it exported by a file of functions?`
        : unknownFunction(asked, name as string, named),
    );
  }
  const { kind: found } = fn.definition;
  if (found !== kind) throw new TypeError(`${asked}: ${fn.name} is ${withArticle(found)}; use ${methodFor(found)}.`);
  return fn;
}

function unknownFunction(asked: string, name: string, named: Program['named']): string {
  const meant = nearest(
    name,
    [...named.values()].map((fn) => fn.name),
  );
  return `${asked}: there is no function ${name}${meant === null ? '.' : `; did you mean ${meant}?`}`;
}

/** Refuses what would break what the calling function's kind promises, and circles. */
function mustAllow({ fn, depth }: Run, kind: FunctionKind, { joins }: { readonly joins: boolean }): void {
  const asked = `${methodFor(kind)} in ${fn.name}`;
  const { kind: caller } = fn.definition;
  if (kind === 'mutation' && caller === 'query') {
    throw new TypeError(`${asked}: a query only reads. Make it a mutation.`);
  }
  if (kind === 'action' && (caller !== 'action' || joins)) {
    const what = caller === 'action' ? 'a transaction' : withArticle(caller);
    throw new TypeError(
      `${asked}: ${what} may run more than once, and what an action does to the world cannot be undone. ` +
        'Run it from an action, outside of transactions.',
    );
  }
  if (depth >= MAX_DEPTH) {
    throw new Error(`${asked}: ${MAX_DEPTH} functions have called one another to get here. Is it a circle?`);
  }
}

/**
 * The failure of a call of its own, as the caller would have met it here: what was no `ConvoyError` there is none here
 * either, so that it stays on the server.
 */
function throwAsHere({ name }: NamedFunction, error: unknown): never {
  if (!isConvoyError(error) || error.code !== 'INTERNAL') throw error;
  const where = error.errorId === undefined ? '' : ` (errorId ${error.errorId})`;
  throw new Error(`${name} failed: ${error.message}${where}`, { cause: error });
}

function timeFor({ call, program }: Run, everyMs: number | undefined): number {
  if (everyMs !== undefined) {
    if (!Number.isFinite(everyMs) || everyMs < SHORTEST_REFRESH_MS) {
      throw new RangeError(
        `ctx.now(everyMs) takes how often to run again, in milliseconds, and at least ${SHORTEST_REFRESH_MS}; ` +
          `${String(everyMs)} was given.`,
      );
    }
    call.refreshEvery(everyMs);
  }
  return program.dev ? unwatchedNow() : Date.now();
}

function methodFor(kind: FunctionKind): string {
  return { query: 'ctx.runQuery', mutation: 'ctx.runMutation', action: 'ctx.runAction' }[kind];
}

function withArticle(kind: FunctionKind): string {
  return kind === 'action' ? 'an action' : `a ${kind}`;
}
