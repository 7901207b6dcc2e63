/**
 * Checks the options of `createConvoy` before they become JSON for the engine, which leaves out functions and turns `NaN`
 * into null. The engine checks their types.
 */

import { describeGiven, isObject, isPlainObject } from '../values/kind.js';
import { nearest } from '../values/nearest.js';
import { membersProblem } from '../values/options.js';
import type { CorsOptions } from './cors-options.js';
import { rateLimitProblem } from './function-limits.js';
import { openApiProblem } from './openapi/options.js';
import type { EngineOptions } from './options.js';
import { workerProblem } from './worker-options.js';

const ENGINE_OPTIONS = Object.keys({
  databaseUrl: true,
  createDatabase: true,
  limits: true,
  rateLimit: true,
  poolSize: true,
  basePath: true,
  trustProxy: true,
  openapi: true,
  static: true,
  cors: true,
  securityHeaders: true,
  programKey: true,
  dev: true,
  sync: true,
  workers: true,
  sourceMaps: true,
  resourceLimits: true,
  telemetry: true,
  onEvent: true,
  logFormat: true,
} satisfies Record<keyof EngineOptions, true>);

/** The members of a program given as values. */
const PROGRAM = ['schema', 'functions', 'createContext', 'routes', 'rls', 'securitySchemes'] as const;

const NAMES: readonly string[] = [...PROGRAM, 'program'];

/** Of the engine of development builds, for fault injection; others refuse it. */
const FAILPOINTS = 'failpoints';

/** Throws a `TypeError` that says what is wrong with the options. */
export function checkEngineOptions(given: object): void {
  const problem =
    membersProblem('createConvoy', withoutFailpoints(given), [...ENGINE_OPTIONS, ...NAMES]) ??
    programProblem('createConvoy', given);
  if (problem !== null) throw new TypeError(problem);
  const setting = settingsProblem(given);
  if (setting !== null) throw new TypeError(`createConvoy: ${setting}`);
}

/** Throws a `TypeError` unless these are the options of `load`. */
export function checkLoad(given: unknown): void {
  if (!isObject(given))
    throw new TypeError(
      `The argument of load is a program, not ${typeof given === 'string' ? 'a text' : describeGiven(given)}.`,
    );
  // A module namespace may have exports of its own.
  const meant = PROGRAM.filter((name) => given[name] === undefined);
  const misspelt = Object.keys(given).find((key) => !NAMES.includes(key) && nearest(key, meant, 2) !== null);
  const problem =
    misspelt === undefined ? programProblem('load', given) : membersProblem('load', { [misspelt]: 0 }, NAMES);
  if (problem !== null) throw new TypeError(problem);
}

/** What is wrong with settings that `createConvoy` and `convoy.config.ts` share. */
export function settingsProblem(given: object): string | null {
  const {
    static: folder,
    sync,
    cors,
    openapi,
    securityHeaders,
    limits,
    rateLimit,
    workers,
    resourceLimits,
  } = given as Partial<Record<keyof EngineOptions, unknown>>;
  if (folder !== undefined && (typeof folder !== 'string' || folder.trim() === '')) {
    return `\`static\` is a folder, such as './dist'; ${describeGiven(folder)} was given.`;
  }
  if (sync !== undefined && typeof sync !== 'boolean' && sync !== 'require' && sync !== 'inspect') {
    return `\`sync\` is true, false, 'require' or 'inspect'; ${describeGiven(sync)} was given.`;
  }
  const corsKeys = Object.keys({ origins: true, credentials: true } satisfies Record<keyof CorsOptions, true>);
  return (
    (cors === undefined ? null : membersProblem('`cors`', cors, corsKeys)) ??
    openApiProblem(openapi) ??
    objectProblem('securityHeaders', securityHeaders) ??
    objectProblem('limits', limits) ??
    (rateLimit === undefined ? null : rateLimitProblem(rateLimit)) ??
    workerProblem(workers, resourceLimits) ??
    numberProblem(given)
  );
}

function objectProblem(name: string, value: unknown): string | null {
  if (value === undefined || isPlainObject(value)) return null;
  return `\`${name}\` is an object; ${describeGiven(value)} was given.`;
}

/** A number that JSON does not have, which a missing environment variable may have become. */
function numberProblem(given: object): string | null {
  for (const [name, value] of Object.entries(given)) {
    if (!ENGINE_OPTIONS.includes(name)) continue;
    const values = typeof value === 'object' && value !== null ? Object.entries(value as object) : [];
    for (const [path, number] of [[name, value], ...values.map(([key, inner]) => [`${name}.${key}`, inner])] as const) {
      if (typeof number === 'bigint' || (typeof number === 'number' && !Number.isFinite(number))) {
        return `\`${path}\` is ${describeGiven(number)}; give a number.`;
      }
    }
  }
  return null;
}

function programProblem(subject: string, given: object): string | null {
  const { program, ...values } = given as Partial<Record<'program' | (typeof PROGRAM)[number], unknown>>;
  if (program === undefined) return null;
  if (!(program instanceof URL) && (typeof program !== 'string' || program === '')) {
    return `${subject}: \`program\` is the address of a module, such as new URL('./program.js', import.meta.url).`;
  }
  const both = PROGRAM.find((name) => values[name] !== undefined);
  return both === undefined
    ? null
    : `${subject}: \`${both}\` is an export of the module that \`program\` names; export it there, and remove it here.`;
}

function withoutFailpoints(given: unknown): unknown {
  if (typeof given !== 'object' || given === null || !(FAILPOINTS in given)) return given;
  const { [FAILPOINTS]: _failpoints, ...rest } = given as Record<string, unknown>;
  return rest;
}
