/**
 * One running Convoy per program in development servers that evaluate changed modules again, as Next.js does. Calling
 * `createConvoy` again then loads the new code into the running Convoy, instead of opening another engine.
 *
 * The registry is on `globalThis`, because the modules of the package may be evaluated again as well.
 */

import { isMainThread } from 'node:worker_threads';
import { describeFunctions, type ProgramSource } from './program.js';
import { addressOf, isProgramModule, type ProgramModule } from './program-module.js';
import { checkSource } from './program-source.js';

/** The part of a running Convoy that the registry uses. */
export interface Reloadable {
  load(source: ProgramSource | ProgramModule): Promise<unknown>;
  close(): Promise<void>;
}

/** One call of `createConvoy`. */
export interface ReloadRequest<Running extends Reloadable> {
  /** Identifies the program: `reloadKey`. */
  readonly key: string;
  readonly source: ProgramSource | ProgramModule;
  /** Everything else that the engine was opened with. A change of it needs another engine. */
  readonly engineOptions: object;
  /** Opens a Convoy; `onClose` is called when that begins to close. */
  open(onClose: () => void): Promise<Running>;
}

interface Entry<Running> {
  running: Running | null;
  identity: ProgramIdentity;
  engineOptions: string;
  /** The last request; the next one waits for it. */
  last: Promise<unknown>;
}

/** By key. */
type Registry<Running> = Map<string, Entry<Running>>;

const REGISTRY = Symbol.for('convoy.running');

/**
 * The key of a program in the registry; `null` if it is not registered: in production, and, without an explicit key,
 * outside of development servers, where a program may open several engines on one database.
 */
export function reloadKey(options: {
  readonly databaseUrl: string;
  readonly basePath?: string;
  readonly programKey?: string;
}): string | null {
  const { databaseUrl, basePath = '/api', programKey } = options;
  const environment = process.env.NODE_ENV;
  const isReloading = environment === 'development' || (programKey !== undefined && environment !== 'production');
  return isReloading && isMainThread ? JSON.stringify([databaseUrl, basePath, programKey ?? 'default']) : null;
}

/** Loads the program into the Convoy that runs under its key, or opens one. */
export function openOrReload<Running extends Reloadable>(request: ReloadRequest<Running>): Promise<Running> {
  const registry = runningConvoys<Running>();
  const identity = identify(request.source);
  const entry = registry.get(request.key) ?? { running: null, identity, engineOptions: '', last: Promise.resolve() };
  registry.set(request.key, entry);
  const apply = (): Promise<Running> => replace(entry, identity, request);
  const result = entry.last.then(apply, apply);
  entry.last = result;
  return result;
}

async function replace<Running extends Reloadable>(
  entry: Entry<Running>,
  identity: ProgramIdentity,
  { key, source, engineOptions, open }: ReloadRequest<Running>,
): Promise<Running> {
  const options = JSON.stringify(engineOptions);
  const { running } = entry;
  if (running !== null) {
    if (!isSame(entry.identity, identity)) throw new TypeError(collision(key, entry.identity, identity));
    if (entry.engineOptions === options) {
      await running.load(source);
      entry.identity = identity;
      return running;
    }
    await running.close();
  }
  const opened = await open(() => {
    entry.running = null;
  });
  Object.assign(entry, { running: opened, identity, engineOptions: options });
  return opened;
}

/** The parts of a program that stay when its code is edited: its module, or some of its names. */
interface ProgramIdentity {
  readonly module: string | null;
  readonly names: readonly string[];
}

function identify(source: ProgramSource | ProgramModule): ProgramIdentity {
  // Some servers add a version to the address.
  if (isProgramModule(source)) return { module: addressOf(source).replace(/[?#].*/, ''), names: [] };
  checkSource(source);
  const functions = describeFunctions(source.functions).map(({ name }) => name);
  const tables = Object.keys(source.schema.tables).map((name) => `table ${name}`);
  return { module: null, names: [...functions, ...tables] };
}

/** An edit changes some of the names. Programs that have none in common are different ones. */
function isSame(before: ProgramIdentity, after: ProgramIdentity): boolean {
  if (before.module !== null || after.module !== null) return before.module === after.module;
  if (before.names.length === 0 || after.names.length === 0) return true;
  return before.names.some((name) => after.names.includes(name));
}

function collision(key: string, before: ProgramIdentity, after: ProgramIdentity): string {
  const [, basePath, programKey] = JSON.parse(key) as [string, string, string];
  return (
    `Two programs use one database, base path (${basePath}) and program key (${programKey}): ${describe(before)}, and ` +
    `${describe(after)}. A development server keeps one Convoy for these. Give each its own name in createConvoy's ` +
    'programKey, or close the first one before the second is created.'
  );
}

function describe({ module, names }: ProgramIdentity): string {
  if (module !== null) return `the program in ${module}`;
  const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
  return `the one with ${names.slice(0, 3).join(', ')}${more}`;
}

function runningConvoys<Running>(): Registry<Running> {
  const shared = globalThis as { [REGISTRY]?: Registry<Running> };
  shared[REGISTRY] ??= new Map();
  return shared[REGISTRY];
}
