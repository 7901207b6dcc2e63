/**
 * Runs functions for the engine. Total: whatever a function does, nothing is thrown back, and every call is answered
 * exactly once, unless the engine gave it up first.
 *
 * The path of a handler that answers at once takes no promise and one `JSON.parse` and `stringify` each.
 */

import { parseEarliest } from '../schema/index.js';
import { ConvoyError, errorFromPayload } from '../values/errors.js';
import { argumentsIn } from './arguments.js';
import { Call } from './call.js';
import { identityOf } from './caller-fingerprint.js';
import { ContextObserver } from './context-observer.js';
import type { ConvoyRequest } from './contexts.js';
import { DevWarnings } from './dev-warnings.js';
import { failureJson, resultJson } from './encode-result.js';
import { outcomeIn } from './engine-errors.js';
import { baseOf } from './function-calls.js';
import { RESULT } from './functions.js';
import { DELIVERY, type Deliver, type NativeCalls } from './native.js';
import { callHandler, type NamedFunction, type Program } from './program.js';
import {
  CalledRun,
  type Caller,
  CONTEXT_ONLY,
  type InheritedContext,
  NO_CALLER,
  type RequestJson,
} from './root-run.js';
import type { Run } from './run.js';
import { contextIn, expiryOf, withBase } from './validate-context.js';

/** The calls of one engine, over all programs it loads. */
export class Host {
  readonly #engine: NativeCalls;
  /** Runs that have not ended; a handler that answers at once never gets here. */
  readonly #runs = new Map<number, CalledRun>();
  /** What calls made in this process bring, by the token their request carries. */
  readonly #brought = new Map<number, InheritedContext>();
  #nextToken = 1;

  constructor(engine: NativeCalls) {
    this.#engine = engine;
  }

  /** What the engine calls for `program`. */
  deliverFor(program: Program): Deliver {
    return (kind, callId, index, text, request) => {
      if (typeof text !== 'string') this.#settle(callId, index, text);
      else if (kind === DELIVERY.call) this.#run(program, program.functions[index], callId, text, request);
      else if (kind === DELIVERY.context) this.#run(program, CONTEXT_ONLY, callId, text, request);
      else if (kind === DELIVERY.results) this.#settle(callId, index, text);
      else if (kind === DELIVERY.abandon) this.#abandon(callId, text);
    };
  }

  /**
   * Keeps `context` for calls whose request is the returned text, until `forget` is called with it. `depth` is how many
   * functions called one another to make such a call.
   */
  remember(context: object, depth = 0): { readonly request: string; readonly forget: () => void } {
    const token = this.#nextToken++;
    this.#brought.set(token, { context, depth });
    return { request: JSON.stringify({ contextToken: token }), forget: () => this.#brought.delete(token) };
  }

  #run(program: Program, fn: NamedFunction | undefined, callId: number, text: string, request: string | null): void {
    let run: CalledRun | undefined;
    try {
      if (fn === undefined) throw new ConvoyError('NOT_FOUND', 'There is no such function.');
      const { kind, transaction, input } = fn.definition;
      const call = new Call(callId, kind, this.#engine, { transactional: kind !== 'action' && transaction });
      const asking = request === null ? NO_CALLER : this.#askingIn(request);
      run = new CalledRun(program, fn, call, asking);
      const args = argumentsIn(text, input, program.dev ? new DevWarnings(program, call, fn.name) : null);
      if (isAwaited(args)) this.#continue(run, args, (parsed) => this.#enter(run as CalledRun, parsed));
      else this.#enter(run, args);
    } catch (error) {
      if (run === undefined) this.#respond(callId, false, failureJson(error), null);
      else this.#fail(run, error);
    }
  }

  /** With parsed arguments: makes the context. */
  #enter(run: CalledRun, args: unknown): void {
    const { program, asking } = run;
    const base = baseOf(run, this.#callElsewhere);
    // What is of the base is always this run's own, also where someone passes the `ctx` of another call on.
    if (asking.brought !== null) this.#handle(run, withBase(asking.brought.context, base), args);
    else if (program.createContext === undefined) this.#handle(run, base, args);
    else {
      const request = asking.request ?? insideRequest(run.fn);
      // Nothing can be hung onto the base: an observed handler is given another one.
      for (const part of Object.values(base)) Object.freeze(part);
      const made: unknown = program.inOwnContext(program.createContext, request, { ...base });
      if (isAwaited(made)) this.#continue(run, made, (context) => this.#made(run, context, { base, request }, args));
      else this.#made(run, made, { base, request }, args);
    }
  }

  /** With what createContext made: finds out who asks, as far as someone wants to know. */
  #made(run: CalledRun, made: unknown, { base, request }: From, args: unknown): void {
    const { fn, asking } = run;
    const context = contextIn(made);
    run.expiresAt = expiryOf(context);
    if (asking.keyed) run.identity = identityOf(context, base, request, { session: fn === CONTEXT_ONLY });
    const { kind, share } = fn.definition;
    if (kind === 'query' && share && asking.request !== null) run.observer = ContextObserver.of(context, base);
    if (fn === CONTEXT_ONLY) run.observer?.lookAtAll();
    // By a part of the base that createContext has held, a WeakMap would know the caller.
    this.#handle(run, run.observer === null ? context : withBase(context, baseOf(run, this.#callElsewhere)), args);
  }

  /** With its context: calls the handler. */
  #handle(run: CalledRun, context: object, args: unknown): void {
    const ctx = run.enter(context);
    const result = run.program.inOwnContext(callHandler, run.program, run.fn, ctx, args);
    if (isAwaited(result)) this.#continue(run, result, (value) => this.#returned(run, value));
    else this.#returned(run, result);
  }

  /** With what the handler returned: waits for what it did not await, and parses it. */
  #returned(run: CalledRun, result: unknown): void {
    const { kind, returns } = run.fn.definition;
    const unfinished = kind === 'query' ? null : run.whenIdle();
    if (unfinished !== null) {
      this.#continue(run, unfinished, () => this.#returned(run, result));
      return;
    }
    if (returns === undefined) {
      this.#answer(run, result);
      return;
    }
    const parsed = parseEarliest(returns, result, RESULT);
    const answer = (value: unknown): void => {
      run.call.lossy?.adopt(result);
      run.call.lossy?.carry(result, value);
      this.#answer(run, value);
    };
    if (isAwaited(parsed)) this.#continue(run, parsed, answer);
    else answer(parsed);
  }

  #answer(run: CalledRun, result: unknown): void {
    const text = resultJson(run.fn.name, result, { most: run.program.resultBytes, lossy: run.call.lossy });
    if (!this.#leave(run)) return;
    let rest: string | null;
    try {
      rest = run.rest(run.call.takeHeld());
    } catch (error) {
      // A document that was changed since it was checked.
      this.#respond(run.call.id, false, failureJson(error), null);
      return;
    }
    this.#respond(run.call.id, true, text, rest);
  }

  #fail(run: CalledRun, error: unknown): void {
    if (this.#leave(run)) this.#respond(run.call.id, false, failureJson(error), run.rest(null));
  }

  /** Ends a run whose handler has. False where it was over before, and nobody waits for its answer. */
  #leave(run: CalledRun): boolean {
    if (run.why !== null) return false;
    run.end();
    this.#runs.delete(run.call.id);
    return true;
  }

  #respond(callId: number, ok: boolean, text: string, rest: string | null): void {
    try {
      this.#engine.respond(callId, ok, text, rest);
    } catch (error) {
      // The engine has forgotten the call or is gone; there is nobody left to tell but the log.
      console.error(`convoy: the engine did not take the answer of call ${callId}:`, error);
    }
  }

  /** Goes on with `next` when `promise` has a value; whatever fails on the way is the call's failure. */
  #continue<T>(run: CalledRun, promise: PromiseLike<T>, next: (value: T) => void): void {
    this.#runs.set(run.call.id, run);
    // A `then` that somebody wrote may call back twice, or throw; what follows it settles once.
    new Promise<T>((resolve) => resolve(promise)).then(
      (value) => {
        if (run.why !== null) return;
        try {
          next(value);
        } catch (error) {
          this.#fail(run, error);
        }
      },
      (error) => this.#fail(run, error),
    );
  }

  #settle(callId: number, batch: number, text: string | Buffer): void {
    const run = this.#runs.get(callId);
    if (run === undefined) return;
    try {
      run.call.settle(batch, text);
    } catch (error) {
      this.#fail(run, error);
    }
  }

  #abandon(callId: number, text: string): void {
    const run = this.#runs.get(callId);
    if (run === undefined) return;
    this.#runs.delete(callId);
    run.end(reasonIn(text));
  }

  /** Calls a function for another one, as a call of its own under the same context. */
  readonly #callElsewhere = async (
    { name, definition }: NamedFunction,
    input: string,
    caller: Run,
  ): Promise<unknown> => {
    const { request, forget } = this.remember(caller.context ?? {}, caller.depth + 1);
    try {
      const envelope = await this.#engine.call(definition.kind, name, input, request);
      return outcomeIn(envelope, (data, lossy) => caller.call.noteLossy(data, lossy));
    } finally {
      forget();
    }
  };

  #askingIn(text: string): Caller {
    const { contextToken, context, keyed = false, ...request } = JSON.parse(text) as RequestJson;
    if (context !== undefined) return { request: null, brought: { context, depth: 0 }, keyed: false };
    if (contextToken === undefined) return { request, brought: null, keyed };
    const brought = this.#brought.get(contextToken);
    if (brought === undefined) throw new Error('The context of this call is gone.');
    return { request: null, brought, keyed: false };
  }
}

/** What a context was made from. */
interface From {
  readonly base: object;
  readonly request: ConvoyRequest;
}

/** The request of a call from inside the program, which stands for nobody. */
function insideRequest({ name, definition }: NamedFunction): ConvoyRequest {
  return { method: 'POST', url: `/api/${definition.kind}/${name}`, headers: {}, ip: undefined };
}

function isAwaited(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

function reasonIn(text: string): ConvoyError {
  try {
    return errorFromPayload(JSON.parse(text));
  } catch (error) {
    return new ConvoyError('INTERNAL', 'The engine has given the call up.', { cause: error });
  }
}
