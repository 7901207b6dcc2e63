/** `convoy.config.ts`: the settings that are neither flags nor environment variables. */

import { isObject } from '../values/kind.js';
import { nearest } from '../values/nearest.js';
import { settingsProblem } from './engine-options.js';
import type { EngineOptions } from './options.js';
import { checkLogFormat } from './telemetry/log-format.js';
import { checkTelemetry } from './telemetry/telemetry-settings.js';

/** Settings of `convoy build`. */
export interface BuildConfig {
  /** The folder of the built code, relative to the root (`convoy-build`). */
  readonly outDir?: string;
  /**
   * Packages that are not bundled, such as those with native addons. They have to be installed where the built code runs.
   */
  readonly external?: readonly string[];
}

/** The settings of a project. Flags and environment variables take precedence. */
export interface ConvoyConfig
  extends Pick<
    EngineOptions,
    | 'limits'
    | 'rateLimit'
    | 'poolSize'
    | 'basePath'
    | 'trustProxy'
    | 'cors'
    | 'securityHeaders'
    | 'openapi'
    | 'static'
    | 'workers'
    | 'resourceLimits'
    | 'telemetry'
    | 'logFormat'
    | 'onEvent'
  > {
  /** Settings of `convoy build`. */
  readonly build?: BuildConfig;
}

/** Gives `convoy.config.ts` its type: `export default defineConfig({ … })`. */
export function defineConfig(config: ConvoyConfig): ConvoyConfig {
  return config;
}

const KEYS = new Set<string>([
  'limits',
  'rateLimit',
  'poolSize',
  'basePath',
  'trustProxy',
  'cors',
  'securityHeaders',
  'openapi',
  'static',
  'workers',
  'resourceLimits',
  'telemetry',
  'logFormat',
  'onEvent',
  'build',
] satisfies (keyof ConvoyConfig)[]);
const BUILD_KEYS = new Set<string>(['outDir', 'external'] satisfies (keyof BuildConfig)[]);

/** Checks the default export of `file`. Throws an error that names the setting. */
export function checkConfig(config: unknown, file: string): ConvoyConfig {
  if (!isObject(config) || typeof config.then === 'function') {
    throw new Error(`${file} exports no settings. Write: export default defineConfig({ … })`);
  }
  checkKeys(config, KEYS, file, '');
  if (config.build !== undefined) {
    if (!isObject(config.build)) throw new Error(`${file}: build is not an object.`);
    checkKeys(config.build, BUILD_KEYS, file, 'build.');
    const { outDir, external = [] } = config.build;
    if (outDir !== undefined && typeof outDir !== 'string') throw new Error(`${file}: build.outDir is not a string.`);
    if (!Array.isArray(external) || external.some((name) => typeof name !== 'string')) {
      throw new Error(`${file}: build.external is not a list of package names.`);
    }
  }
  const problem = settingsProblem(config);
  if (problem !== null) throw new Error(`${file}: ${problem}`);
  if (config.onEvent !== undefined && typeof config.onEvent !== 'function') {
    throw new Error(`${file}: onEvent is not a function.`);
  }
  if (config.logFormat !== undefined) checkLogFormat(config.logFormat, `${file}: logFormat`);
  if (config.telemetry !== undefined) checkTelemetry(config.telemetry, `${file}: telemetry`);
  return config;
}

function checkKeys(object: object, known: ReadonlySet<string>, file: string, prefix: string): void {
  for (const key of Object.keys(object)) {
    if (known.has(key)) continue;
    const elsewhere = { databaseUrl: 'DATABASE_URL', port: 'PORT', host: 'HOST' }[key];
    if (elsewhere !== undefined) throw new Error(`${file}: ${key} is not set here, but by ${elsewhere}.`);
    const close = nearest(key, known);
    const hint = close === null ? `The settings are ${[...known].join(', ')}.` : `Did you mean ${prefix}${close}?`;
    throw new Error(`${file}: there is no setting ${prefix}${key}. ${hint}`);
  }
}
