/**
 * An engine for tests that replaces the native addon: it delivers calls, records responses, and runs operations by a
 * script. The only fake of these tests.
 */

import type { Operation } from '../src/server/call.js';
import { openConvoy } from '../src/server/convoy.js';
import { Host } from '../src/server/host.js';
import { DELIVERY, type Deliver, type NativeEngine, type NativeModule } from '../src/server/native.js';
import type { LogFormat } from '../src/server/options.js';
import {
  describeProgram,
  type Program,
  type ProgramOptions,
  type ProgramSource,
  prepareProgram,
} from '../src/server/program.js';
import type { LogLevel } from '../src/server/telemetry/call-log.js';

/** The response to a call. */
export interface Response {
  readonly callId: number;
  readonly ok: boolean;
  /** The result or the failure, parsed. */
  readonly body: unknown;
  readonly held: Operation[] | null;
  readonly writes: Operation[] | null;
  /** The rest of the call metadata. */
  readonly identity: string | null;
  readonly refreshMs: number | null;
  readonly seen: Readonly<Record<string, string | null>> | null;
  readonly expiresAt: number | null;
  /** Whether prefetched operations were left unused. */
  readonly unused: boolean;
}

/** A line that a function has logged, with its fields parsed. */
export interface LoggedLine {
  readonly callId: number;
  readonly level: LogLevel;
  readonly functionName: string;
  readonly message: string;
  readonly fields: unknown;
}

/** Returns the result of one operation: `{ ok }` or `{ error }`. */
export type Script = (op: Operation) => { readonly ok?: unknown; readonly error?: unknown };

/** The client's side of a request to a route. */
export class ScriptedRoute {
  /** The chunks of its body that were not read yet. */
  readonly body: Buffer[] = [];
  head: { readonly status: number; readonly headers: readonly (readonly [string, string])[] } | null = null;
  /** The body of the response, if it was sent as a whole. */
  whole: Buffer | null = null;
  /** Its chunks, if it was not. */
  readonly written: string[] = [];
  isGone = false;
  /** The client leaves. */
  leave!: () => void;
  readonly gone = new Promise<boolean>((resolve) => {
    this.leave = () => {
      this.isGone = true;
      resolve(true);
    };
  });
}

export class ScriptedEngine implements NativeEngine, NativeModule {
  readonly opened: unknown[] = [];
  readonly loads: { readonly description: Description; readonly deliver: Deliver }[] = [];
  readonly batches: { readonly callId: number; readonly batch: number; readonly ops: Operation[] }[] = [];
  readonly responses: Response[] = [];
  closed = 0;
  /** With `null`, batches wait until the test calls `answer`. */
  script: Script | null;
  report: unknown = { tables: {}, created: [], warnings: [], leftOver: [] };
  readonly #waiting = new Map<number, (response: Response) => void>();
  #deliver: Deliver | null = null;
  #nextCall = 1;
  #minted = 0;

  constructor(script: Script | null = () => ({ ok: null })) {
    this.script = script;
  }

  async open(options: string): Promise<NativeEngine> {
    this.opened.push(JSON.parse(options));
    return this;
  }

  async load(program: string, deliver: Deliver): Promise<string> {
    this.use(JSON.parse(program) as Description, deliver);
    return JSON.stringify(this.report);
  }

  /** It has no workers; these are tested with the real engine. */
  attach = noWorkers;
  planMigration = notScripted;
  applyMigration = notScripted;
  watch = notScripted;
  share = noWorkers;
  openPool = noWorkers;
  loadOnWorkers = noWorkers;
  closePool = noWorkers;
  drain = noWorkers;
  unresponsiveWorkers = noWorkers;

  /** Simulates a signal. */
  signal: (name: NodeJS.Signals) => void = noWorkers;
  handleSignals(onSignal: (name: NodeJS.Signals) => void): void {
    this.signal = onSignal;
  }

  /** The text printed through it. */
  printed = '';
  /** The lines that functions have logged. */
  readonly logged: LoggedLine[] = [];
  logFormat: LogFormat = 'pretty';
  setLogFormat(format: LogFormat): void {
    this.logFormat = format;
  }

  log(callId: number, level: LogLevel, functionName: string, message: string, fields: string | null): void {
    this.logged.push({ callId, level, functionName, message, fields: fields === null ? null : JSON.parse(fields) });
  }

  writeLog(_stream: 1 | 2, text: string): void {
    this.printed += text;
  }

  flushLog(): void {}

  use(description: Description, deliver: Deliver): void {
    this.loads.push({ description, deliver });
    this.#deliver = deliver;
  }

  /** No path is one of Convoy's. */
  exchange(): null {
    return null;
  }

  async listen(options: string): Promise<string> {
    return JSON.stringify({ ...(JSON.parse(options) as object), port: 4321 });
  }

  async call(kind: string, name: string, input: string, request: string | null): Promise<string> {
    const { functions } = this.#current();
    const index = functions.findIndex((fn) => fn.name === name && fn.kind === kind);
    if (index < 0) return JSON.stringify({ ok: false, error: { code: 'NOT_FOUND', message: `no ${name}` } });
    const { ok, body } = await this.run(index, input, request);
    const failure = body as { code?: string };
    return JSON.stringify(
      ok ? { ok, data: body } : { ok, error: failure.code ? failure : { code: 'INTERNAL', message: 'failed' } },
    );
  }

  /** Delivers a call and resolves to its response; stays pending if the call is abandoned. */
  run(index: number, input: string, request: string | null = null): Promise<Response> {
    return this.#start(DELIVERY.call, index, input, request);
  }

  /** Delivers a call with prefetched operations and their answers. */
  runPrefetched(index: number, input: string, ops: readonly object[], answers: readonly object[]): Promise<Response> {
    return this.#start(DELIVERY.call, index, input, null, [JSON.stringify(ops), JSON.stringify(answers)]);
  }

  /** Delivers a request to a route; see `routeCalls`. */
  runRoute(index: number, input: object, request: object): Promise<Response> {
    this.routeCalls.set(this.#nextCall, new ScriptedRoute());
    return this.#start(DELIVERY.route, index, JSON.stringify(input), JSON.stringify(request));
  }

  /** The requests to routes by the id of their call. */
  readonly routeCalls = new Map<number, ScriptedRoute>();

  #route(callId: number): ScriptedRoute {
    const route = this.routeCalls.get(callId);
    if (route === undefined) throw new Error(`call ${callId} is not that of a route`);
    return route;
  }

  async readBody(callId: number): Promise<Buffer | null> {
    return this.#route(callId).body.shift() ?? null;
  }

  beginResponse(callId: number, head: string, body: Buffer | null): void {
    Object.assign(this.#route(callId), { head: JSON.parse(head), whole: body });
  }

  async writeResponse(callId: number, chunk: Buffer): Promise<boolean> {
    const route = this.#route(callId);
    if (!route.isGone) route.written.push(chunk.toString());
    return !route.isGone;
  }

  clientGone(callId: number): Promise<boolean> {
    return this.#route(callId).gone;
  }

  /** Delivers a context-only call for a request. */
  readContext(request: string): Promise<Response> {
    return this.#start(DELIVERY.context, 0, '{}', request);
  }

  /** Delivers a call and returns its id, for tests that send the results themselves. */
  start(index: number, input = '{}'): number {
    const callId = this.#nextCall;
    void this.run(index, input);
    return callId;
  }

  traceparent(): string | null {
    return null;
  }

  operate(callId: number, batch: number, ops: string): void {
    const parsed = JSON.parse(ops) as Operation[];
    this.batches.push({ callId, batch, ops: parsed });
    if (this.script !== null) setImmediate(() => this.answer(callId, batch, parsed.map(this.script as Script)));
  }

  answer(callId: number, batch: number, results: unknown): void {
    this.#deliver?.(DELIVERY.results, callId, batch, JSON.stringify(results), null);
  }

  /** Answers the first batch of each of these calls, in turn. */
  answerInTurn(turns: readonly { readonly call: number; readonly answers: readonly object[] }[]): void {
    const text = JSON.stringify(turns.map((turn) => ({ ...turn, batch: 0 })));
    this.#deliver?.(DELIVERY.turns, turns[0]?.call ?? 0, 0, text, null);
  }

  abandon(callId: number, reason: unknown): void {
    this.#deliver?.(DELIVERY.abandon, callId, 0, JSON.stringify(reason), null);
  }

  respond(callId: number, ok: boolean, text: string, metadata: string | null): void {
    const {
      held = null,
      writes = null,
      identity = null,
      refreshMs = null,
      seen = null,
      expiresAt = null,
      unused = false,
    } = (metadata === null ? {} : JSON.parse(metadata)) as Partial<Response>;
    const response = {
      callId,
      ok,
      body: JSON.parse(text) as unknown,
      held,
      writes,
      identity,
      refreshMs,
      seen,
      expiresAt,
      unused,
    };
    this.responses.push(response);
    this.#waiting.get(callId)?.(response);
  }

  mintIds(n: number): string[] {
    return Array.from({ length: n }, () => uuid(++this.#minted));
  }

  serveDevPage(): void {}

  /** Hands a batch of events to the handler; `null` without one. */
  emit: ((batch: string) => void) | null = null;
  readEvents(onEvents: (batch: string) => void): void {
    this.emit = onEvents;
  }

  /** Called when a batch was handled. */
  eventsTaken: () => void = () => {};

  answerDevRequest(): void {}

  recentLines(): string {
    return '{"lines":[],"total":0}';
  }

  liveOverview(): string {
    return '{"sessions":0,"differing":[],"queries":[]}';
  }

  stats(): string {
    return JSON.stringify({ handlerRuns: this.responses.length });
  }

  async close(): Promise<void> {
    this.closed++;
  }

  /** The operations of all batches, in order. */
  get ops(): Operation[] {
    return this.batches.flatMap(({ ops }) => ops);
  }

  #start(
    kind: number,
    index: number,
    input: string,
    request: string | null,
    prefetched: readonly string[] = [],
  ): Promise<Response> {
    const callId = this.#nextCall++;
    const response = new Promise<Response>((resolve) => this.#waiting.set(callId, resolve));
    this.#deliver?.(kind, callId, index, input, request, ...prefetched);
    return response;
  }

  #current(): Description {
    const last = this.loads.at(-1);
    if (last === undefined) throw new Error('no program is loaded');
    return last.description;
  }
}

function notScripted(): never {
  throw new Error('a scripted engine does not do this; it is tested with the real engine');
}

function noWorkers(): never {
  throw new Error('a scripted engine has no workers');
}

/** The `n`th uuid of a test. */
export function uuid(n: number): string {
  return `01890c5e-9d2b-7cc3-8f11-${n.toString(16).padStart(12, '0')}`;
}

/** A host with one program loaded into a scripted engine, and a way to call its functions by name. */
export function hostOf(source: ProgramSource, script?: Script | null, options?: ProgramOptions): HostUnderTest {
  const engine = new ScriptedEngine(script);
  const program = prepareProgram(source, options);
  const host = new Host(engine);
  const description = JSON.parse(describeProgram(source, { sync: true })) as Description;
  engine.use(description, host.deliverFor(program));
  const indexOf = (name: string): number => description.functions.findIndex((fn) => fn.name === name);
  return {
    engine,
    host,
    program,
    indexOf,
    call: (name, input = {}, request = null) => engine.run(indexOf(name), JSON.stringify(input), request),
  };
}

export interface HostUnderTest {
  readonly engine: ScriptedEngine;
  readonly host: Host;
  readonly program: Program;
  indexOf(name: string): number;
  call(name: string, input?: unknown, request?: string | null): Promise<Response>;
}

/** `createConvoy` over a scripted engine. */
export function convoyOf(engine: ScriptedEngine, source: ProgramSource): ReturnType<typeof openConvoy> {
  return openConvoy(engine, { ...source, databaseUrl: 'postgres://scripted' } as Parameters<typeof openConvoy>[1]);
}

interface Description {
  readonly functions: readonly { readonly name: string; readonly kind: string }[];
  readonly hasContext: boolean;
  readonly sync: boolean;
}
