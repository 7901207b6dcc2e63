/**
 * The function host: runs functions for the engine. It never throws into the engine, and it responds to every call
 * exactly once, unless the engine abandons the call first.
 *
 * A synchronous handler runs without any promise and with one `JSON.parse` and one `JSON.stringify`.
 */

import { parseMaybeAsync } from '../schema/index.js';
import { ConvoyError, errorFromPayload } from '../values/errors.js';
import { argumentsIn } from './arguments.js';
import { createAuth, signedInUser } from './auth.js';
import type { Held, Prefetched } from './batches.js';
import { Call } from './call.js';
import { callerFingerprint } from './caller-fingerprint.js';
import { ContextObserver } from './context-observer.js';
import type { ConvoyRequest } from './contexts.js';
import { DevWarnings } from './dev-warnings.js';
import { failureJson, resultJson } from './encode-result.js';
import { unwrapEnvelope } from './engine-errors.js';
import { type Base, baseOf, type StartCall } from './function-calls.js';
import { RESULT } from './functions.js';
import { DELIVERY, type Deliver, type NativeCalls } from './native.js';
import { isThenable } from './observed-promise.js';
import { callHandler, type NamedFunction, type Program, watched } from './program.js';
import { type Caller, CONTEXT_ONLY, type InheritedContext, NO_CALLER, type RequestJson, RootRun } from './root-run.js';
import { RouteCall } from './route-call.js';
import { inSpan } from './telemetry/user-spans.js';
import { Turns } from './turns.js';
import { assertContext, assertOwnDatabase, expiryOf, withBase } from './validate-context.js';

/** A call that the engine has delivered. */
interface Delivered {
  readonly callId: number;
  readonly text: string;
  readonly request: string | null;
  readonly observed?: boolean;
  readonly prefetched?: Prefetched | null;
}

/** Runs the calls of one engine, for every program it loads. */
export class Host {
  readonly #engine: NativeCalls;
  /** Runs that wait for a promise, by call id; synchronous handlers never get here. */
  readonly #runs = new Map<number, RootRun>();
  /** Contexts of calls made in this process, by the token in their request. */
  readonly #inherited = new Map<number, InheritedContext>();
  #nextToken = 1;

  constructor(engine: NativeCalls) {
    this.#engine = engine;
  }

  /** The callback through which the engine delivers the calls of `program`. */
  deliverFor(program: Program): Deliver {
    return (kind, callId, index, text, request, ops, answers) => {
      const prefetched = ops == null || answers == null ? null : { ops, answers };
      if (typeof text !== 'string') this.#resolveBatch(callId, index, text);
      else if (kind === DELIVERY.call)
        this.#run(program, program.functions[index], { callId, text, request, prefetched });
      else if (kind === DELIVERY.observedCall)
        this.#run(program, program.functions[index], { callId, text, request, prefetched, observed: true });
      else if (kind === DELIVERY.route) this.#run(program, program.routes[index], { callId, text, request });
      else if (kind === DELIVERY.context) this.#run(program, CONTEXT_ONLY, { callId, text, request });
      else if (kind === DELIVERY.results) this.#resolveBatch(callId, index, text);
      else if (kind === DELIVERY.turns) this.#beginTurn(Turns.parse(text));
      else if (kind === DELIVERY.abandon) this.#abandon(callId, text);
    };
  }

  /**
   * Keeps `context` for calls made with the returned `request`, until `release` is called. `depth` is the number of nested
   * function calls above such a call; `guarded` is whether access rules and row-level security hold for it.
   */
  registerContext(
    context: object,
    { depth = 0, guarded = true }: { readonly depth?: number; readonly guarded?: boolean } = {},
  ): { readonly request: string; readonly release: () => void } {
    const token = this.#nextToken++;
    this.#inherited.set(token, { context, depth, guarded });
    return { request: JSON.stringify({ contextToken: token }), release: () => this.#inherited.delete(token) };
  }

  /** First step: parses the arguments, or makes the request of a route. */
  #run(
    program: Program,
    fn: NamedFunction | undefined,
    { callId, text, request, observed = false, prefetched = null }: Delivered,
  ): void {
    let run: RootRun | undefined;
    try {
      if (fn === undefined) throw new ConvoyError('NOT_FOUND', 'There is no such function.');
      const { kind, transaction, input } = fn.definition;
      const call = new Call(callId, kind, this.#engine, {
        transactional: kind !== 'action' && transaction,
        observed,
        prefetched,
      });
      const caller = request === null ? NO_CALLER : this.#parseCaller(request);
      run = new RootRun(program, fn, call, caller);
      if (fn.isRoute) {
        this.#makeContext(run, new RouteCall(this.#engine, run, text));
        return;
      }
      const warnings = program.dev ? new DevWarnings(program, call, fn.name) : null;
      const args = watched(program, fn, call, () => argumentsIn(text, input, warnings));
      if (isThenable(args)) this.#continue(run, args, (parsed) => this.#makeContext(run as RootRun, parsed));
      else this.#makeContext(run, args);
    } catch (error) {
      if (run === undefined) this.#respond(callId, false, failureJson(error), null);
      else this.#fail(run, error);
    }
  }

  /** Second step, with parsed arguments: creates the context. */
  #makeContext(run: RootRun, args: unknown): void {
    const { program, caller } = run;
    // The members of the base always belong to this run, even if a function passes on the `ctx` of another call.
    if (caller.inherited !== null) this.#callHandler(run, withBase(caller.inherited.context, this.#baseFor(run)), args);
    else if (program.createContext === undefined) this.#callHandler(run, this.#baseFor(run), args);
    else {
      // `createContext` finds out who asks, so no rule or policy can apply to what it reads.
      const base = baseOf(run, { startCall: this.#startCall, guarded: false });
      const request = caller.request ?? internalRequest(run.fn);
      // Frozen, because properties added to the base would be lost: an observed handler receives another base.
      for (const part of Object.values(base)) Object.freeze(part);
      run.call.isMakingContext = true;
      const made: unknown = program.inProgramContext(inSpan, run.call, program.createContext, request, {
        ...base,
      });
      if (isThenable(made))
        this.#continue(run, made, (context) => this.#onContext(run, context, { base, request }, args));
      else this.#onContext(run, made, { base, request }, args);
    }
  }

  /** Third step, with the result of `createContext`: fingerprints the caller and observes the context, if needed. */
  #onContext(run: RootRun, made: unknown, { base, request }: ContextSource, args: unknown): void {
    const { fn, caller } = run;
    run.call.isMakingContext = false;
    const context = assertContext(made);
    run.expiresAt = expiryOf(context);
    if (caller.keyed) run.fingerprint = callerFingerprint(context, base, request, { session: fn === CONTEXT_ONLY });
    const { kind, share } = fn.definition;
    // A trusted result may have documents that equal callers must not see, so it is not observed nor shared.
    const isShared = share && caller.request !== null && (caller.guarded || !run.program.guardsClients);
    if (kind === 'query' && isShared) run.observer = ContextObserver.of(context, base);
    if (fn === CONTEXT_ONLY) {
      run.observer?.recordAll();
      run.user = signedInUser(context);
    }
    const isGuarded = caller.guarded && run.program.guardsClients;
    if (isGuarded) assertOwnDatabase(context, base);
    // An observed handler gets a new base: by an object of the old one, a WeakMap of createContext could find the caller.
    // A guarded one gets a base with access rules and row-level security.
    this.#callHandler(run, run.observer === null && !isGuarded ? context : withBase(context, this.#baseFor(run)), args);
  }

  #baseFor(run: RootRun): Base {
    return baseOf(run, { startCall: this.#startCall, guarded: run.caller.guarded });
  }

  /** Fourth step, with the context: calls the handler. */
  #callHandler(run: RootRun, context: object, args: unknown): void {
    const ctx = run.enter(context);
    const { program, fn, call } = run;
    const result = program.inProgramContext(inSpan, call, callHandler, program, fn, call, { context: ctx, args });
    if (isThenable(result)) this.#continue(run, result, (value) => this.#onReturn(run, value));
    else this.#onReturn(run, result);
  }

  /** Fifth step, with the handler's result: waits for unawaited operations and parses the result by `returns`. */
  #onReturn(run: RootRun, result: unknown): void {
    const { kind, returns } = run.fn.definition;
    const unfinished = kind === 'query' ? null : run.whenIdle();
    if (unfinished !== null) {
      this.#continue(run, unfinished, () => this.#onReturn(run, result));
      return;
    }
    if (returns === undefined) {
      this.#succeed(run, result);
      return;
    }
    const parsed = watched(run.program, run.fn, run.call, () => parseMaybeAsync(returns, result, RESULT));
    const answer = (value: unknown): void => {
      run.call.lossy?.adopt(result);
      run.call.lossy?.carry(result, value);
      this.#succeed(run, value);
    };
    if (isThenable(parsed)) this.#continue(run, parsed, answer);
    else answer(parsed);
  }

  #succeed(run: RootRun, result: unknown): void {
    const { program, fn, call } = run;
    const maxBytes = fn.definition.limits.resultBytes ?? program.resultBytes;
    // A result may have code of its own: `toJSON`, and getters.
    const text = watched(program, fn, call, () => resultJson(fn.name, result, { maxBytes, lossy: call.lossy }));
    if (!this.#finish(run)) return;
    const held = run.call.takeHeld();
    this.#respond(run.call.id, true, text, run.metadata(held));
    this.#endTurn(run, held);
  }

  #fail(run: RootRun, error: unknown): void {
    if (!this.#finish(run)) return;
    this.#respond(run.call.id, false, failureJson(error), run.metadata(null));
    this.#endTurn(run, null);
  }

  /** Answers the first operations of the next call of `turns` that has not ended. */
  #beginTurn(turns: Turns): void {
    for (let turn = turns.next(); turn !== null; turn = turns.next()) {
      const run = this.#runs.get(turn.call);
      // It has failed without its answers, or the engine has abandoned it and those after it.
      if (run === undefined) continue;
      run.turns = turns;
      run.call.resolveWith(turn.batch, turn.answers);
      return;
    }
  }

  /** Begins the next turn after a run has ended, with what it has written. */
  #endTurn(run: RootRun, held: Held | null): void {
    // After further operations the engine starts the other calls again: it does not know their documents any more.
    if (run.turns === null || run.call.batchCount > 1) return;
    run.turns.end(held?.writes ?? []);
    this.#beginTurn(run.turns);
  }

  /** Ends a run whose handler has ended. False if the run had ended before, so that no response is expected. */
  #finish(run: RootRun): boolean {
    if (run.endReason !== null) return false;
    run.end();
    this.#runs.delete(run.call.id);
    return true;
  }

  #respond(callId: number, ok: boolean, text: string, metadata: string | null): void {
    try {
      this.#engine.respond(callId, ok, text, metadata);
    } catch (error) {
      // The engine has dropped the call or has stopped, so only the log can receive the error.
      console.error(`convoy: the engine did not accept the response to call ${callId}:`, error);
    }
  }

  /** Continues with `next` when `promise` is fulfilled; a rejection, or an error thrown by `next`, fails the call. */
  #continue<T>(run: RootRun, promise: PromiseLike<T>, next: (value: T) => void): void {
    this.#runs.set(run.call.id, run);
    // A user-defined `then` may call back twice or throw; the native promise around it settles once.
    new Promise<T>((resolve) => resolve(promise)).then(
      (value) => {
        if (run.endReason !== null) return;
        try {
          next(value);
        } catch (error) {
          this.#fail(run, error);
        }
      },
      (error) => this.#fail(run, error),
    );
  }

  #resolveBatch(callId: number, batch: number, text: string | Buffer): void {
    const run = this.#runs.get(callId);
    if (run === undefined) return;
    try {
      run.call.resolveBatch(batch, text);
    } catch (error) {
      this.#fail(run, error);
    }
  }

  #abandon(callId: number, text: string): void {
    const run = this.#runs.get(callId);
    if (run === undefined) return;
    this.#runs.delete(callId);
    run.end(parseReason(text));
  }

  /** Calls a function on behalf of another one, as a separate call with the same context. */
  readonly #startCall: StartCall = async ({ name, definition }, input, caller, guarded) => {
    const { request, release } = this.registerContext(caller.context ?? {}, { depth: caller.depth + 1, guarded });
    try {
      const envelope = await this.#engine.call(definition.kind, name, input, request, caller.call.traceparent);
      return unwrapEnvelope(envelope, (data, lossy) => caller.call.noteLossy(data, lossy));
    } finally {
      release();
    }
  };

  #parseCaller(text: string): Caller {
    const {
      contextToken,
      context: members,
      auth,
      keyed = false,
      trusted = false,
      ...request
    } = JSON.parse(text) as RequestJson;
    if (members !== undefined) {
      const context = auth === undefined ? members : { ...members, auth: createAuth(auth.user) };
      return { request: null, inherited: { context, depth: 0, guarded: true }, keyed: false, guarded: true };
    }
    if (contextToken === undefined) return { request, inherited: null, keyed, guarded: !trusted };
    const inherited = this.#inherited.get(contextToken);
    if (inherited === undefined) throw new Error('The context of this call was released before the call was made.');
    return { request: null, inherited, keyed: false, guarded: inherited.guarded };
  }
}

/** The arguments of `createContext`. */
interface ContextSource {
  readonly base: object;
  readonly request: ConvoyRequest;
}

/** The request of a call from inside the program: without headers, so without a caller. */
function internalRequest({ name, definition }: NamedFunction): ConvoyRequest {
  return { method: 'POST', url: `/api/${definition.kind}/${name}`, headers: {}, ip: undefined };
}

function parseReason(text: string): ConvoyError {
  try {
    return errorFromPayload(JSON.parse(text));
  } catch (error) {
    return new ConvoyError('INTERNAL', 'The engine abandoned the call.', { cause: error });
  }
}
