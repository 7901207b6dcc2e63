/**
 * `createConvoy`: runs the engine with user functions inside a Node program. Owns the engine's lifecycle: opens it, loads
 * programs one at a time, and closes it.
 */

import path from 'node:path';
import { nameOfRef } from '../protocol/name-of-ref.js';
import type { Preloaded } from '../protocol/preloaded.js';
import type { ActionArgument, MutationArgument, QueryArgument, ServerMethods } from '../protocol/ref-kinds.js';
import type { AnyQueryRef, ApiRef, ArgsOfRef, ResultOfRef } from '../protocol/refs.js';
import type { DataModelOf, SchemaDefinition } from '../schema/index.js';
import { describeGiven } from '../values/kind.js';
import { checkMembers } from '../values/options.js';
import { argumentsJson } from './arguments.js';
import { backfillTable, type TableBackfill } from './backfill.js';
import { DEFAULT_MAX_RESULT_BYTES } from './bounded-json.js';
import type { BaseContext, CreateContext, MadeContext } from './contexts.js';
import { type DevAnswer, type DevRequest, type DevView, serveDevPage } from './dev-page.js';
import { rethrowAsConvoyError, unwrapEnvelope } from './engine-errors.js';
import { checkEngineOptions, checkLoad } from './engine-options.js';
import { type Executor, type ExecutorOptions, InlineExecutor } from './executors.js';
import type { FunctionKind } from './functions.js';
import { type NodeHandler, nodeHandler, type UpgradeHandler, upgradeHandler } from './handlers/node-handler.js';
import { type WebHandlers, webHandlers } from './handlers/web-handlers.js';
import { type LoadReport, loadNative, type NativeEngine, type NativeModule } from './native.js';
import { checkedSchemes, type SecuritySchemes } from './openapi/security-schemes.js';
import type { EngineOptions } from './options.js';
import { explainListen } from './port-owner.js';
import { type PreloadOptions, preload } from './preload.js';
import { describeProgram, type FunctionTree, type ProgramSource } from './program.js';
import { isProgramModule, type ProgramModule } from './program-module.js';
import { openOrReload, reloadKey } from './reload.js';
import type { RouteModule } from './routes.js';
import type { RowLevelSecurity } from './row-security/row-level-security.js';
import { SchemaCheck, type TableMisfits } from './schema-check.js';
import type { Standby } from './standby-worker.js';
import { EventDelivery, type OnEvent } from './telemetry/events.js';
import { logFormatOf } from './telemetry/log-format.js';
import { telemetrySettings } from './telemetry/telemetry-settings.js';
import { activeSpan } from './telemetry/user-spans.js';
import { watchQuery } from './watch.js';
import type { WorkerOptions } from './worker-group.js';
import { WorkerThreads } from './worker-threads.js';

/** Options of `createConvoy` for a program passed as values, whose functions run on the calling thread. */
// biome-ignore lint/suspicious/noExplicitAny: a context is the result of `createContext` and the argument of `rls`.
export interface ConvoyOptions<Schema extends SchemaDefinition, Context extends MadeContext = any>
  extends EngineOptions {
  /** The result of `defineSchema`. */
  readonly schema: Schema;
  /** Functions by module: `{ messages: { list, send } }`, or `{ messages }` of an `import * as messages`. */
  readonly functions: FunctionTree;
  /** Creates the context of each call from its request. */
  readonly createContext?: CreateContext<BaseContext<DataModelOf<Schema>>, Context> | undefined;
  /** The Postgres role under which the calls of clients run, and the settings that its policies read. */
  readonly rls?: RowLevelSecurity<Context> | undefined;
  /** The HTTP routes by name, such as `import * as routes from './convoy/http.js'`. */
  readonly routes?: RouteModule | undefined;
  /** What identifies a caller, for the OpenAPI document: the `securitySchemes` of an adapter of `@avvos/convoy-auth`. */
  readonly securitySchemes?: SecuritySchemes | undefined;
  /** Only in `ConvoyModuleOptions`. */
  readonly program?: undefined;
}

/** Options of `createConvoy` for a program given as a module, which is imported by default on a worker thread. */
export interface ConvoyModuleOptions extends EngineOptions, ProgramModule {}

/** Options of a call from inside the program. */
export interface CallOptions {
  /** Used instead of calling `createContext`; `db` and the rest of the base are added. Sent to workers as JSON. */
  readonly context?: object;
}

/** The address of the server. */
export interface ListenAddress {
  /** A name or an IP address; `0.0.0.0` are all IPv4 addresses. */
  readonly host: string;
  /** The port, 1 to 65535; in `listen`, 0 takes any free one. */
  readonly port: number;
}

/** A running Convoy. Its calls are trusted: they can reach internal functions. */
export interface Convoy {
  /** Runs a query; throws a `ConvoyError` if it fails. */
  query<Ref extends ApiRef>(
    ref: QueryArgument<Ref, ServerMethods>,
    args: ArgsOfRef<Ref>,
    options?: CallOptions,
  ): Promise<ResultOfRef<Ref>>;
  /** Runs a mutation; resolves once it is committed. */
  mutation<Ref extends ApiRef>(
    ref: MutationArgument<Ref, ServerMethods>,
    args: ArgsOfRef<Ref>,
    options?: CallOptions,
  ): Promise<ResultOfRef<Ref>>;
  /** Runs an action. */
  action<Ref extends ApiRef>(
    ref: ActionArgument<Ref, ServerMethods>,
    args: ArgsOfRef<Ref>,
    options?: CallOptions,
  ): Promise<ResultOfRef<Ref>>;
  /** The results of a query, the first one at once and then each one that differs; a slow reader gets the newest. */
  watch<Ref extends ApiRef>(
    ref: QueryArgument<Ref, ServerMethods>,
    args: ArgsOfRef<Ref>,
    options?: CallOptions,
  ): AsyncIterableIterator<ResultOfRef<Ref>>;
  /**
   * Runs a query for a page that this server renders. `usePreloadedQuery` goes on from the result: the page shows it at
   * once, and receives only changes. The caller is the one of the page's request, so internal functions are not reached.
   */
  preload<Ref extends AnyQueryRef>(ref: Ref, args: ArgsOfRef<Ref>, options?: PreloadOptions): Promise<Preloaded<Ref>>;
  /** Starts the HTTP server; port 0 takes any free port. */
  listen(options?: Partial<ListenAddress>): Promise<ListenAddress>;
  /**
   * A handler for other HTTP servers of this process: `(req, res, next?)`, as a middleware of Express, Connect or NestJS,
   * or to be called in a server of node:http or Koa. It answers Convoy's paths, and calls `next()` or resolves to false
   * for all others.
   */
  nodeHandler(): NodeHandler;
  /** A handler for WebSockets on a server of Node: `server.on('upgrade', convoy.upgradeHandler())`. */
  upgradeHandler(): UpgradeHandler;
  /** Handlers that take a web `Request`: `export const { GET, POST, OPTIONS } = convoy.handlers`. */
  readonly handlers: WebHandlers;
  /** The address of the server, or `null` before `listen`. */
  readonly address: ListenAddress | null;
  /**
   * Replaces the code atomically: live queries run again, calls in flight finish on the old code. If loading fails, the
   * old code stays.
   */
  load(source: ProgramSource | ProgramModule): Promise<LoadReport>;
  /**
   * In development: a thread that waits for the next program, so that `load` takes less time; started if there is none.
   * `null` if functions run on the calling thread.
   */
  standby(): Standby | null;
  /** In development: answers requests to `/_convoy`. `answer` must not reject. */
  serveDevPage(answer: (request: DevRequest, view: DevView) => Promise<DevAnswer>): void;
  /** The report of the last load. */
  readonly loaded: LoadReport;
  /**
   * Compares stored documents with the schema, all of a table or 10,000 random ones if there are more. Returns the tables
   * with documents that do not fit, cannot be represented in JavaScript, or look renamed.
   */
  checkDocuments(): Promise<readonly TableMisfits[]>;
  /**
   * Writes constant defaults into stored documents that lack the field, in batches. Documents that do not fit the schema
   * stay as they are, and are counted. `onProgress` is called after each batch.
   */
  backfill(onProgress?: (progress: TableBackfill) => void): Promise<readonly TableBackfill[]>;
  /** Counters of the engine: `handlerRuns`, `liveQueries`, `subscribers`, …. */
  stats(): Readonly<Record<string, number>>;
  /** Waits for calls in flight (at most 9 s) and stops. May be called repeatedly. */
  close(): Promise<void>;
}

/** Connects to the database, loads the functions, and resolves when Convoy is ready for calls. */
export async function createConvoy(options: ConvoyModuleOptions): Promise<Convoy>;
export async function createConvoy<
  const Schema extends SchemaDefinition,
  Context extends MadeContext = BaseContext<DataModelOf<Schema>>,
>(options: ConvoyOptions<Schema, Context>): Promise<Convoy>;
export async function createConvoy(options: ConvoyOptions<SchemaDefinition> | ConvoyModuleOptions): Promise<Convoy> {
  checkEngineOptions(options);
  const native = loadNative();
  const key = reloadKey(options);
  if (key === null) return openConvoy(native, options);
  const { source, workers, engineOptions } = partsOf(options);
  const open = (onClose: () => void): Promise<Convoy> => openConvoy(native, options, { onClose });
  const convoy = await openOrReload({
    key,
    source,
    engineOptions: { ...engineOptions, workers, sync: options.sync },
    open,
  });
  // One that was opened by the code before has its handler. The class may be another evaluation of this module.
  (convoy as Partial<RunningConvoy>).handleEvents?.(options.onEvent);
  return convoy;
}

/**
 * The same with a given addon; tests pass a scripted engine. With `onlyLocal` it cannot listen, and `watch` reaches
 * internal functions.
 */
export async function openConvoy(
  native: NativeModule,
  options: ConvoyOptions<SchemaDefinition> | ConvoyModuleOptions,
  { onlyLocal = false, onClose = () => {} }: { readonly onlyLocal?: boolean; readonly onClose?: () => void } = {},
): Promise<Convoy> {
  const { sync: requested = true, dev = false, sourceMaps = dev } = options;
  const sync = requested === true;
  const { source, workers, engineOptions } = partsOf(options, { onlyLocal });
  // Checks the functions before a connection is opened.
  if (!isProgramModule(source)) describeProgram(source, { sync });
  const format = onlyLocal ? undefined : logFormatOf(options.logFormat, process.env);
  if (format !== undefined) native.setLogFormat(format);
  // The engine explains a missing URL as it does an empty one.
  const given = JSON.stringify({ ...engineOptions, databaseUrl: options.databaseUrl ?? '' });
  const engine = await rethrowAsConvoyError(native.open(given));
  // Not `console`, which belongs to the program: it may block on a slow reader, and a full disk would end the process.
  const log = (text: string): void => native.writeLog(2, `convoy: ${text}\n`);
  const resultBytes = options.limits?.resultBytes ?? DEFAULT_MAX_RESULT_BYTES;
  const executor = executorFor(engine, workers, { sync, dev, sourceMaps, resultBytes, onlyLocal }, log);
  const convoy = new RunningConvoy(engine, executor, { sync, log, onlyLocal, onClose });
  try {
    if (!onlyLocal) convoy.handleEvents(options.onEvent);
    await convoy.load(source);
    return convoy;
  } catch (error) {
    await convoy.close();
    throw error;
  }
}

interface Parts {
  readonly source: ProgramSource | ProgramModule;
  /** `null` if functions run on this thread. */
  readonly workers: WorkerOptions | null;
  readonly engineOptions: object;
}

/** The options of the OpenAPI document for the engine; absent if it is not served. */
function openApiParts({ openapi, dev = false }: EngineOptions): object {
  const served = openapi ?? dev;
  if (served === false) return {};
  const given = served === true ? {} : served;
  return { openapi: { title: 'Convoy', version: '0.0.0', servers: [], ...given } };
}

/** With `onlyLocal`, telemetry is off: such an engine runs beside the one that serves, which has the port. */
function partsOf(options: ConvoyOptions<SchemaDefinition> | ConvoyModuleOptions, { onlyLocal = false } = {}): Parts {
  checkEngineOptions(options);
  const {
    workers,
    resourceLimits = {},
    sync,
    sourceMaps: _maps,
    programKey: _key,
    openapi: _openapi,
    static: folder,
    telemetry,
    logFormat: _format,
    onEvent: _onEvent,
    ...given
  } = options;
  const settings = onlyLocal ? null : telemetrySettings(telemetry, process.env);
  const rest = {
    ...given,
    ...(settings === null ? {} : { telemetry: settings }),
    ...(typeof sync === 'string' ? { schemaPolicy: sync } : {}),
    ...openApiParts(options),
    ...(folder === undefined ? {} : { static: path.resolve(folder) }),
  };
  if (rest.program !== undefined) {
    const { program, ...engineOptions } = rest;
    const count = workers ?? 1;
    return { source: { program }, workers: count === 0 ? null : { count, resourceLimits }, engineOptions };
  }
  if ((workers ?? 0) > 0 || options.resourceLimits !== undefined) {
    const given = (workers ?? 0) > 0 ? `workers: ${workers}` : 'resourceLimits';
    throw new TypeError(
      `${given} needs a module that each worker imports. Export schema, functions and createContext from one, ` +
        'and pass its address instead: ' +
        "createConvoy({ program: new URL('./program.js', import.meta.url), workers, … }).",
    );
  }
  const { schema, functions, createContext, routes, rls, securitySchemes, program: _none, ...engineOptions } = rest;
  const schemes = checkedSchemes(securitySchemes);
  const source = { schema, functions, createContext, routes, rls, securitySchemes: schemes };
  return { source, workers: null, engineOptions };
}

function executorFor(
  engine: NativeEngine,
  workers: WorkerOptions | null,
  options: ExecutorOptions,
  log: (text: string) => void,
): Executor {
  return workers === null
    ? new InlineExecutor(engine, options)
    : new WorkerThreads(engine, { ...workers, log }, options);
}

function checkCallOptions(options: CallOptions): void {
  checkMembers('A call', options, ['context']);
  const { context } = options;
  if (context === undefined || (typeof context === 'object' && context !== null)) return;
  throw new TypeError(`A call: \`context\` is an object; ${describeGiven(context)} was given.`);
}

interface RunningOptions {
  readonly sync: boolean;
  /** Writes to the log of the process. */
  readonly log: (text: string) => void;
  /** Whether it may not listen. */
  readonly onlyLocal: boolean;
  /** Called when it begins to close. */
  readonly onClose: () => void;
}

class RunningConvoy implements Convoy {
  readonly #engine: NativeEngine;
  readonly #executor: Executor;
  #address: ListenAddress | null = null;
  #loaded: LoadReport = { tables: {}, created: [], warnings: [], leftOver: [] };
  /** The last load; the next one waits for it. */
  #loading: Promise<unknown> = Promise.resolve();

  readonly #schemaCheck: SchemaCheck;
  /** Whether loading starts a check of stored documents. */
  readonly #checksOnLoad: boolean;

  readonly #onlyLocal: boolean;
  readonly #onClose: () => void;
  readonly #events: EventDelivery;

  constructor(engine: NativeEngine, executor: Executor, { sync, log, onlyLocal, onClose }: RunningOptions) {
    this.#onClose = onClose;
    this.#events = new EventDelivery(engine, log);
    this.#engine = engine;
    this.#executor = executor;
    this.#onlyLocal = onlyLocal;
    this.#checksOnLoad = sync;
    this.#schemaCheck = new SchemaCheck(async (name, input) => {
      const { request, release } = executor.registerContext({});
      try {
        return await engine.call('action', name, input, request, null);
      } finally {
        release();
      }
    }, log);
  }

  /** Calls `onEvent` with the events from now on, in place of the handler before. */
  handleEvents(onEvent: OnEvent | undefined): void {
    this.#events.handleBy(onEvent);
  }

  get address(): ListenAddress | null {
    return this.#address;
  }

  get loaded(): LoadReport {
    return this.#loaded;
  }

  async query<Ref extends ApiRef>(ref: QueryArgument<Ref, ServerMethods>, args: ArgsOfRef<Ref>, options?: CallOptions) {
    return (await this.#call('query', nameOfRef(ref), args, options)) as ResultOfRef<Ref>;
  }

  async mutation<Ref extends ApiRef>(
    ref: MutationArgument<Ref, ServerMethods>,
    args: ArgsOfRef<Ref>,
    options?: CallOptions,
  ) {
    return (await this.#call('mutation', nameOfRef(ref), args, options)) as ResultOfRef<Ref>;
  }

  async action<Ref extends ApiRef>(
    ref: ActionArgument<Ref, ServerMethods>,
    args: ArgsOfRef<Ref>,
    options?: CallOptions,
  ) {
    return (await this.#call('action', nameOfRef(ref), args, options)) as ResultOfRef<Ref>;
  }

  async *watch<Ref extends ApiRef>(
    ref: QueryArgument<Ref, ServerMethods>,
    args: ArgsOfRef<Ref>,
    options: CallOptions = {},
  ) {
    const name = nameOfRef(ref);
    const input = argumentsJson(args);
    checkCallOptions(options);
    const { request, release } =
      options.context === undefined
        ? { request: null, release: () => {} }
        : this.#executor.registerContext(options.context);
    try {
      yield* watchQuery(this.#engine, name, input, request) as AsyncIterableIterator<ResultOfRef<Ref>>;
    } finally {
      release();
    }
  }

  preload<Ref extends AnyQueryRef>(ref: Ref, args: ArgsOfRef<Ref>, options: PreloadOptions = {}) {
    return preload(this.handlers.POST, [ref, args, options]);
  }

  async listen(options: Partial<ListenAddress> = {}): Promise<ListenAddress> {
    this.#expectPublic();
    checkMembers('listen', options, ['host', 'port']);
    const { host = '127.0.0.1', port = 3000 } = options;
    if (typeof host !== 'string' || host === '')
      throw new TypeError(`listen: \`host\` is a name or an IP address; ${describeGiven(host)} was given.`);
    if (!Number.isInteger(port) || port < 0 || port > 65_535) {
      throw new TypeError(`listen: \`port\` is a number from 0 to 65535; ${describeGiven(port)} was given.`);
    }
    // A module that was evaluated again calls this again.
    if (this.#address?.host === host && this.#address.port === port) return this.#address;
    const listening = rethrowAsConvoyError(this.#engine.listen(JSON.stringify({ host, port })));
    const address = await listening.catch(async (error: unknown) => {
      throw await explainListen(error, port);
    });
    this.#address = JSON.parse(address) as ListenAddress;
    return this.#address;
  }

  nodeHandler(): NodeHandler {
    this.#expectPublic();
    return nodeHandler(this.#engine);
  }

  upgradeHandler(): UpgradeHandler {
    this.#expectPublic();
    return upgradeHandler(this.#engine);
  }

  get handlers(): WebHandlers {
    this.#expectPublic();
    return webHandlers(this.#engine);
  }

  async load(source: ProgramSource | ProgramModule): Promise<LoadReport> {
    checkLoad(source);
    const swap = async (): Promise<LoadReport> => {
      this.#loaded = await this.#executor.load(source);
      if (this.#checksOnLoad) this.#schemaCheck.begin(this.#loaded);
      return this.#loaded;
    };
    const result = this.#loading.then(swap, swap);
    this.#loading = result;
    return result;
  }

  standby(): Standby | null {
    return this.#executor.standby();
  }

  serveDevPage(answer: (request: DevRequest, view: DevView) => Promise<DevAnswer>): void {
    serveDevPage(this.#engine, answer);
  }

  checkDocuments(): Promise<readonly TableMisfits[]> {
    return this.#schemaCheck.all(this.#loaded);
  }

  async backfill(onProgress?: (progress: TableBackfill) => void): Promise<readonly TableBackfill[]> {
    const done: TableBackfill[] = [];
    for (const [table, { nonEmpty }] of Object.entries(this.#loaded.tables).sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (!nonEmpty) continue;
      const call = (name: string, args: object) => this.#call('mutation', name, args, { context: {} });
      done.push(await backfillTable(call, table, onProgress));
    }
    return done;
  }

  stats(): Readonly<Record<string, number>> {
    return JSON.parse(this.#engine.stats()) as Record<string, number>;
  }

  async close(): Promise<void> {
    this.#onClose();
    this.#address = null;
    this.#schemaCheck.stop();
    try {
      await this.#engine.close();
    } finally {
      await this.#executor.close();
    }
  }

  #expectPublic(): void {
    if (this.#onlyLocal) throw new Error('This Convoy does not listen: its internal functions would be reachable.');
  }

  async #call(kind: FunctionKind, name: string, args: unknown, options: CallOptions = {}): Promise<unknown> {
    const input = argumentsJson(args);
    checkCallOptions(options);
    if (options.context === undefined)
      return unwrapEnvelope(await this.#engine.call(kind, name, input, null, activeSpan()));
    const { request, release } = this.#executor.registerContext(options.context);
    try {
      return unwrapEnvelope(await this.#engine.call(kind, name, input, request, activeSpan()));
    } finally {
      release();
    }
  }
}
