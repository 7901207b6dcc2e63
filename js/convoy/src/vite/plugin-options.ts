/** The options of the plugin, checked: one that is misspelt or of another type would be the default without a word. */
import { checkMembers } from '../values/options.js';

/** Options of the plugin; all of them are optional. */
export interface ConvoyPluginOptions {
  /** The folder that contains `convoy/`, relative to Vite's root. Default: Vite's root. */
  readonly root?: string;
  /** The schema file, relative to `root`. Default: `convoy/schema.ts`. */
  readonly schema?: string;
  /** The port of Convoy's own listener, for programs other than the page. Default: any free port. */
  readonly port?: number;
  /** Print more, including stacks. */
  readonly verbose?: boolean;
}

const SUBJECT = 'convoy({ … }) of @avvos/convoy/vite';

/** What each option must be, and whether it is. */
const OPTIONS: Readonly<Record<keyof ConvoyPluginOptions, readonly [string, (value: unknown) => boolean]>> = {
  root: ['the path of a folder', (value) => typeof value === 'string'],
  schema: ['the path of a file', isPath],
  port: ['a number from 0 to 65535', isPort],
  verbose: ['true or false', (value) => typeof value === 'boolean'],
};

/** Throws a `TypeError` for options that the plugin does not have or cannot use. */
export function checkPluginOptions(given: ConvoyPluginOptions): void {
  checkMembers(SUBJECT, given, Object.keys(OPTIONS));
  for (const [name, [expected, isValid]] of Object.entries(OPTIONS)) {
    const value: unknown = given[name as keyof ConvoyPluginOptions];
    if (value === undefined || isValid(value)) continue;
    throw new TypeError(`${SUBJECT}: ${name} must be ${expected}, not ${textOf(value)}.`);
  }
}

function isPath(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}

function isPort(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65_535;
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
