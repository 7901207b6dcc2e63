/** Parses flags and environment variables into the options of a command. Pure; an error names the flag or variable. */
import path from 'node:path';
import type { LogFormat } from '../server/options.js';
import { checkLogFormat, logFormatOf } from '../server/telemetry/log-format.js';
import type { PrometheusOptions } from '../server/telemetry/telemetry-options.js';
import { prometheusSettings } from '../server/telemetry/telemetry-settings.js';

export interface ProjectFlags {
  readonly root: string;
  readonly schema: string;
  readonly verbose?: boolean;
}

export interface DevFlags extends ProjectFlags {
  readonly watch: boolean;
  readonly serve: boolean;
  readonly once?: boolean;
  readonly types?: boolean;
  readonly port?: string;
  readonly host?: string;
  /** The port, or the address, of Prometheus. */
  readonly metrics?: string;
  /** The words after `--`: a server to run in place of Convoy's listener. */
  readonly command?: readonly string[];
}

/** Flags of commands that can run built code. */
export interface BuiltCodeFlags extends ProjectFlags {
  readonly build?: string;
  readonly json?: boolean;
}

export interface BuildFlags extends ProjectFlags {
  readonly out?: string;
  readonly json?: boolean;
}

export interface StartFlags extends BuiltCodeFlags {
  readonly port?: string;
  readonly host?: string;
  readonly workers?: string;
  /** The port, or the address, of Prometheus. */
  readonly metrics?: string;
  /** The form of the log. */
  readonly logFormat?: string;
  /** A folder, from the root. */
  readonly static?: string;
}

export interface RunFlags extends BuiltCodeFlags {
  readonly watch?: boolean;
  /** JSON of the context of the call. */
  readonly context?: string;
}

export interface MigrateFlags extends BuiltCodeFlags {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly skipDb?: boolean;
  readonly backfill?: boolean;
}

/** The files and folders of a project, as absolute paths. */
export interface ProjectLayout {
  readonly root: string;
  readonly convoyFolder: string;
  readonly schemaFile: string;
  readonly functionsFolder: string;
  /** Optional: exports `createContext`, `rls` and `securitySchemes`. */
  readonly serverFile: string;
  /** Optional: exports HTTP routes. */
  readonly httpFile: string;
  readonly generatedFolder: string;
  /** Local state: the embedded Postgres and built code. Never checked in. */
  readonly stateFolder: string;
  readonly buildFolder: string;
}

export interface DevOptions {
  readonly databaseUrl: string | null;
  readonly watch: boolean;
  readonly serve: boolean;
  /** Whether types are checked beside. */
  readonly types: boolean;
  readonly host: string;
  readonly port: number;
  /** Where Prometheus reads the metrics, if a flag says so. */
  readonly prometheus: PrometheusOptions | undefined;
  /** A server to run in place of Convoy's listener, or `null`. */
  readonly command: readonly string[] | null;
}

export function layoutOf(flags: ProjectFlags, cwd: string): ProjectLayout {
  const root = path.resolve(cwd, flags.root);
  const convoyFolder = path.join(root, 'convoy');
  const stateFolder = path.join(root, '.convoy');
  return {
    root,
    convoyFolder,
    schemaFile: path.resolve(root, flags.schema),
    functionsFolder: path.join(convoyFolder, 'functions'),
    serverFile: path.join(convoyFolder, 'server.ts'),
    httpFile: path.join(convoyFolder, 'http.ts'),
    generatedFolder: path.join(convoyFolder, '_generated'),
    stateFolder,
    buildFolder: path.join(stateFolder, 'build'),
  };
}

/** The options of `convoy dev`. `env` includes the `.env` files; an empty variable counts as missing. */
export function devOptionsOf(flags: DevFlags, env: Readonly<Record<string, string | undefined>>): DevOptions {
  const once = flags.once ?? false;
  const command = flags.command !== undefined && flags.command.length > 0 ? flags.command : null;
  if (once && command !== null) throw new Error('--once updates and exits: leave out the command after --, or --once.');
  return {
    databaseUrl: env.DATABASE_URL || null,
    watch: flags.watch && !once,
    serve: flags.serve && !once && command === null,
    command,
    types: flags.types ?? true,
    host: flags.host || env.HOST || '127.0.0.1',
    port: flags.port !== undefined ? parsePort(flags.port, '--port') : parsePort(env.PORT || '3000', 'PORT'),
    prometheus: flags.metrics === undefined ? undefined : prometheusSettings(flags.metrics, '--metrics'),
  };
}

export interface StartOptions {
  readonly databaseUrl: string;
  readonly host: string;
  readonly port: number;
  readonly workers: number | undefined;
  readonly poolSize: number | undefined;
  readonly basePath: string | undefined;
  readonly trustProxy: boolean | number | readonly string[] | undefined;
  readonly corsOrigins: readonly string[] | undefined;
  /** Where Prometheus reads the metrics, if a flag says so. */
  readonly prometheus: PrometheusOptions | undefined;
  readonly logFormat: LogFormat | undefined;
}

/** The options of `convoy start`: flags, then the environment. `undefined` where neither has a value. */
export function startOptionsOf(flags: StartFlags, env: Readonly<Record<string, string | undefined>>): StartOptions {
  const workers = flags.workers ?? (env.CONVOY_WORKERS || undefined);
  const origins = env.CONVOY_CORS_ORIGINS || undefined;
  return {
    databaseUrl: requiredDatabaseUrl(env),
    host: flags.host || env.HOST || '0.0.0.0',
    port: flags.port !== undefined ? parsePort(flags.port, '--port') : parsePort(env.PORT || '3000', 'PORT'),
    workers:
      workers === undefined
        ? undefined
        : parseCount(workers, flags.workers === undefined ? 'CONVOY_WORKERS' : '--workers'),
    poolSize: env.CONVOY_POOL_SIZE ? parseCount(env.CONVOY_POOL_SIZE, 'CONVOY_POOL_SIZE') : undefined,
    basePath: env.CONVOY_BASE_PATH || undefined,
    trustProxy: parseProxies(env.CONVOY_TRUST_PROXY || undefined),
    corsOrigins: origins?.split(',').map((origin) => origin.trim()),
    prometheus: flags.metrics === undefined ? undefined : prometheusSettings(flags.metrics, '--metrics'),
    logFormat:
      flags.logFormat === undefined ? logFormatOf(undefined, env) : checkLogFormat(flags.logFormat, '--log-format'),
  };
}

/** The `DATABASE_URL`, without which a command outside of development cannot work. */
export function requiredDatabaseUrl(env: Readonly<Record<string, string | undefined>>): string {
  if (env.DATABASE_URL) return env.DATABASE_URL;
  throw new Error(
    'DATABASE_URL is not set. Set it to the Postgres to use, such as postgres://user:password@host:5432/database, in the ' +
      'environment or in .env.',
  );
}

function parseCount(text: string, source: string): number {
  const count = Number(text);
  if (/^\d+$/.test(text) && count >= 1) return count;
  throw new Error(`${source} is ${JSON.stringify(text)}: give a number from 1.`);
}

/** The value of a flag that sets a threshold; `null` without the flag. */
export function parseThreshold(text: string | undefined, flag: string): number | null {
  if (text === undefined) return null;
  if (/^\d+$/.test(text)) return Number(text);
  throw new Error(`${flag} is ${JSON.stringify(text)}: give a number from 0.`);
}

/** The engine checks networks. */
function parseProxies(text: string | undefined): boolean | number | readonly string[] | undefined {
  if (text === undefined) return undefined;
  if (['1', 'true'].includes(text)) return true;
  if (['0', 'false'].includes(text)) return false;
  if (/^\d+$/.test(text)) return Number(text);
  if (/[.:]/.test(text)) return text.split(',').map((network) => network.trim());
  throw new Error(
    `CONVOY_TRUST_PROXY is ${JSON.stringify(text)}: give 0, the number of proxies, or their networks, such as ` +
      '10.0.0.0/8,fd00::/8.',
  );
}

function parsePort(text: string, source: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new Error(`${source} is ${JSON.stringify(text)}, which is not a port: give a number from 0 to 65535.`);
}
