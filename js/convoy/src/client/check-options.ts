/**
 * Refuses options that would be ignored, or would fail later without their name. Part of every page, so it is small: the
 * parts that are loaded later check what only they read.
 */
import { ConvoyError } from '../values/errors.js';

/** The options of `createConvoyClient`, with the types of their values. */
const OPTIONS: Readonly<Record<string, string>> = {
  baseUrl: 'string',
  fetch: 'function',
  headers: 'object or function',
  auth: 'string or function',
  traceparent: 'function',
  persist: 'object',
  cache: 'object',
  transport: 'object',
};

/** Throws a `TypeError` for options of `createConvoyClient` that are unknown or have the wrong type. */
export function checkOptions(given: object): void {
  for (const [name, value] of Object.entries(given)) {
    if (!OPTIONS[name]?.includes(value == null ? '' : typeof value))
      throw new TypeError(`createConvoyClient takes ${JSON.stringify(OPTIONS)}, not \`${name}: ${typeof value}\`.`);
  }
  const { baseUrl } = given as { readonly baseUrl?: string };
  // A path is below the origin of the page.
  if (baseUrl && !/^((?!ws|file)[a-z][a-z\d+.-]*:\/)?\//i.test(baseUrl))
    throw new TypeError(`createConvoyClient takes a \`baseUrl\` with http:// or https://, not \`${baseUrl}\`.`);
}

/** What the option `name` has returned; `null` where that is nothing. Who is signed in is unknown from anything else. */
export function stringOrNull(name: string, value: unknown): string | null {
  if (typeof (value ?? '') === 'string') return (value ?? null) as string | null;
  throw unsent(new ConvoyError('UNAUTHORIZED', `\`${name}\` must return a string or null, not \`${typeof value}\`.`));
}

/** In errors because of which a request was not sent: the application failed to say who sends it. */
const UNSENT = Symbol.for('@avvos/convoy unsent');

/** Marks such an error. */
export function unsent(error: ConvoyError): ConvoyError {
  return Object.assign(error, { [UNSENT]: true });
}

/** Whether the request was not sent. */
export function isUnsent(error: unknown): boolean {
  return (error as { [UNSENT]?: true } | null)?.[UNSENT] === true;
}

/** Who is signed in, for what is kept over reloads of the page; `null` for no one. Throws if `scope` is wrong. */
export function scopeOf(options: { readonly scope: () => string | null | undefined } | undefined): string | null {
  return options ? stringOrNull('scope', typeof options.scope === 'function' ? options.scope() : options) : null;
}
