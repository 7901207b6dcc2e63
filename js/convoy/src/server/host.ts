/**
 * Runs functions for the engine. Total: whatever a function does, nothing is thrown back, and every call is answered
 * exactly once, unless the engine gave it up first.
 *
 * The path of a handler that answers at once takes no promise, no closure and one `JSON.parse` and `stringify` each.
 */

import { ConvoyError, errorFromPayload } from '../values/errors.js';
import { Call } from './call.js';
import { CallDatabase } from './call-database.js';
import type { ConvoyRequest } from './contexts.js';
import { ARGUMENTS, parseEarliest, RESULT } from './functions.js';
import { DELIVERY, type Deliver, type NativeEngine } from './native.js';
import { failureJson, resultJson } from './outcome.js';
import type { NamedFunction, Program } from './program.js';

/** The calls of one engine, over all programs it loads. */
export class Host {
  readonly #engine: NativeEngine;
  /** Runs that have not ended; a handler that answers at once never gets here. */
  readonly #calls = new Map<number, Call>();
  /** Contexts given to calls made in this process, by the token their request carries. */
  readonly #contexts = new Map<number, object>();
  #nextToken = 1;

  constructor(engine: NativeEngine) {
    this.#engine = engine;
  }

  /** What the engine calls for `program`. */
  deliverFor(program: Program): Deliver {
    return (kind, callId, index, text, request) => {
      if (kind === DELIVERY.call) this.#run(program, callId, index, text, request);
      else if (kind === DELIVERY.results) this.#settle(callId, index, text);
      else if (kind === DELIVERY.abandon) this.#abandon(callId, text);
    };
  }

  /** Keeps `context` for calls whose request is the returned text, until `forget` is called with it. */
  remember(context: object): { readonly request: string; readonly forget: () => void } {
    const token = this.#nextToken++;
    this.#contexts.set(token, context);
    return { request: JSON.stringify({ contextToken: token }), forget: () => this.#contexts.delete(token) };
  }

  #run(program: Program, callId: number, index: number, text: string, request: string | null): void {
    let run: Run | undefined;
    try {
      const fn = program.functions[index];
      if (fn === undefined) throw new ConvoyError('NOT_FOUND', `There is no function number ${index}.`);
      const call = new Call(callId, fn.definition.kind, this.#engine);
      run = { program, fn, call };
      const args = parseEarliest(fn.definition.input, readInput(text), ARGUMENTS);
      if (isAwaited(args)) this.#continue(run, args, (parsed) => this.#enter(run as Run, parsed, request));
      else this.#enter(run, args, request);
    } catch (error) {
      this.#fail(run?.call ?? new Call(callId, 'query', this.#engine), error);
    }
  }

  /** With parsed arguments: makes the context. */
  #enter(run: Run, args: unknown, request: string | null): void {
    const base = { db: new CallDatabase(run.call, run.program) };
    if (request === null && run.program.createContext === undefined) {
      this.#handle(run, base, args);
      return;
    }
    const context = this.#contextFor(run, base, request);
    if (isAwaited(context)) this.#continue(run, context, (made) => this.#handle(run, checkContext(made), args));
    else this.#handle(run, checkContext(context), args);
  }

  /** With its context: calls the handler. */
  #handle(run: Run, context: object, args: unknown): void {
    const result = run.program.inOwnContext(run.fn.definition.handler, context, args);
    if (isAwaited(result)) this.#continue(run, result, (value) => this.#returned(run, value));
    else this.#returned(run, result);
  }

  /** With what the handler returned: waits for what it did not await, and parses it. */
  #returned(run: Run, result: unknown): void {
    const unfinished = run.call.kind === 'mutation' ? run.call.whenIdle() : null;
    if (unfinished !== null) {
      this.#continue(run, unfinished, () => this.#returned(run, result));
      return;
    }
    const { returns } = run.fn.definition;
    if (returns === undefined) {
      this.#answer(run, result);
      return;
    }
    const parsed = parseEarliest(returns, result, RESULT);
    if (isAwaited(parsed)) this.#continue(run, parsed, (value) => this.#answer(run, value));
    else this.#answer(run, parsed);
  }

  #answer({ call, fn }: Run, result: unknown): void {
    const text = resultJson(fn.name, result);
    if (call.over) return;
    call.end();
    this.#calls.delete(call.id);
    this.#respond(call.id, true, text, call.takeHeld());
  }

  #fail(call: Call, error: unknown): void {
    if (call.over) return;
    call.end();
    this.#calls.delete(call.id);
    this.#respond(call.id, false, failureJson(error), null);
  }

  #respond(callId: number, ok: boolean, text: string, held: string | null): void {
    try {
      this.#engine.respond(callId, ok, text, held);
    } catch (error) {
      // The engine has forgotten the call or is gone; there is nobody left to tell but the log.
      console.error(`convoy: the engine did not take the answer of call ${callId}:`, error);
    }
  }

  /** Goes on with `next` when `promise` has a value; whatever fails on the way is the call's failure. */
  #continue<T>(run: Run, promise: PromiseLike<T>, next: (value: T) => void): void {
    this.#calls.set(run.call.id, run.call);
    promise.then(
      (value) => {
        if (run.call.over) return;
        try {
          next(value);
        } catch (error) {
          this.#fail(run.call, error);
        }
      },
      (error) => this.#fail(run.call, error),
    );
  }

  #settle(callId: number, batch: number, text: string): void {
    const call = this.#calls.get(callId);
    if (call === undefined) return;
    try {
      call.settle(batch, text);
    } catch (error) {
      this.#fail(call, error);
    }
  }

  #abandon(callId: number, text: string): void {
    const call = this.#calls.get(callId);
    if (call === undefined) return;
    this.#calls.delete(callId);
    call.end(reasonIn(text));
  }

  #contextFor(run: Run, base: object, request: string | null): unknown {
    const asked = request === null ? null : (JSON.parse(request) as ConvoyRequest & { contextToken?: number });
    if (asked?.contextToken !== undefined) {
      const given = this.#contexts.get(asked.contextToken);
      if (given === undefined) throw new Error('The context of this call is gone.');
      // `db` is always this call's own, also where someone passes the `ctx` of another call on.
      return { ...given, ...base };
    }
    const { createContext } = run.program;
    if (createContext === undefined) return base;
    const { kind } = run.call;
    const inside: ConvoyRequest = { method: 'POST', url: `/api/${kind}/${run.fn.name}`, headers: {}, ip: undefined };
    return run.program.inOwnContext(createContext, asked ?? inside, base);
  }
}

/** One run on its way. */
interface Run {
  readonly program: Program;
  readonly fn: NamedFunction;
  readonly call: Call;
}

function readInput(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ConvoyError('INVALID_ARGS', `The arguments are not JSON: ${(error as Error).message}.`);
  }
}

function checkContext(context: unknown): object {
  if (typeof context === 'object' && context !== null) return context;
  throw new TypeError('createContext must return an object: return { ...base, … }.');
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
