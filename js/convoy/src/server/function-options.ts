/**
 * The options of each kind of function: types, and what is refused when a function is built. Its limits are in
 * `function-limits.ts`.
 *
 * Safe in a browser: this file uses neither Node nor the engine.
 */

import * as z from 'zod';
import { isZodType, type ZodType } from '../schema/index.js';
import { describeGiven, isPlainObject } from '../values/kind.js';
import { checkMembers } from '../values/options.js';
import type { ActionLimits, MutationLimits, QueryLimits } from './function-limits.js';

/** Options of a query. */
export interface QueryOptions extends QueryLimits {
  /** With `false`, the query runs separately for every subscriber. */
  readonly share?: boolean;
  /** With `false`, the cache of a client never stores its results; they end with the page. */
  readonly persist?: boolean;
  /**
   * With `'GET'`, the query is also answered at `GET /api/query/<name>?args=<JSON>`, for caches and for clients that send
   * no body. Its arguments are then part of the URL, which logs may show.
   */
  readonly http?: 'GET';
  /**
   * What shared caches, such as a CDN, may do with answers to GET. Without it, they keep none. With `false`, the server's
   * own result cache keeps none either: every call runs. For queries that depend on more than their arguments, their
   * context and documents.
   */
  readonly cache?: PublicCache | false;
}

/** Lets shared caches keep the answers of a query with `http: 'GET'` that are the same for everyone. */
export interface PublicCache {
  /** An answer is kept only if its run has read nothing of `ctx`, and callers without credentials get it, too. */
  readonly public: true;
  /** For how many seconds a cache may use an answer without asking; until then it may be out of date. */
  readonly maxAge: number;
}

/** Options of a mutation. */
export interface MutationOptions extends MutationLimits {
  /**
   * With `false`, the handler runs once and outside of a transaction. Each operation is then committed by itself; use
   * `ctx.db.transaction` for operations that belong together.
   */
  readonly transaction?: boolean;
}

/** Options of an action. */
export interface ActionOptions extends ActionLimits {}

/** A definition before it is checked. */
export interface LooseDefinition {
  readonly input?: unknown;
  readonly args?: unknown;
  readonly returns?: unknown;
  readonly share?: unknown;
  readonly persist?: unknown;
  readonly http?: unknown;
  readonly cache?: unknown;
  readonly transaction?: unknown;
  readonly handler?: unknown;
}

type Kind = keyof typeof OPTIONS;

const COMMON: readonly string[] = ['input', 'args', 'returns', 'handler'] satisfies (keyof LooseDefinition)[];

const LIMITS = {
  timeoutMs: true,
  maxDocumentsRead: true,
  resultBytes: true,
  rateLimit: true,
} as const satisfies Record<keyof QueryLimits, true>;

const OPTIONS = {
  query: namesOf<QueryOptions>({ ...LIMITS, share: true, persist: true, http: true, cache: true }),
  mutation: namesOf<MutationOptions>({ ...LIMITS, maxDocumentsWritten: true, retries: true, transaction: true }),
  action: namesOf<ActionOptions>({ ...LIMITS, maxDocumentsWritten: true }),
};

/** The names of all options of a type. */
function namesOf<Options>(options: Record<keyof Options, true>): readonly string[] {
  return Object.keys(options);
}

const BOOLEANS = ['share', 'persist', 'transaction'] as const satisfies (keyof LooseDefinition)[];

const PLURAL = { query: 'queries', mutation: 'mutations', action: 'actions' } as const satisfies Record<Kind, string>;

/** What is meant by names that are no options. */
const MEANT: Readonly<Record<string, (kind: Kind) => string>> = {
  authed: (kind) => `A function that needs a signed-in caller is built by authed.${kind}({ … }).`,
  internal: (kind) =>
    `An internal function is built by internal${kind.charAt(0).toUpperCase()}${kind.slice(1)}({ … }).`,
  output: () => 'Did you mean returns?',
};

/**
 * Refuses members that a function of this kind does not have, and those that are neither true nor false where they have to
 * be. `subject` begins the message, such as `query({ … })`. The values of the others are checked elsewhere.
 */
export function checkOptions(subject: string, kind: Kind, definition: LooseDefinition): void {
  const known = [...COMMON, ...OPTIONS[kind]];
  for (const [name, value] of Object.entries(definition)) {
    if (known.includes(name)) continue;
    const kinds = (Object.keys(OPTIONS) as Kind[]).filter((other) => OPTIONS[other].includes(name));
    if (kinds.length > 0) {
      if (value === undefined) continue;
      const plural = kinds.map((each) => PLURAL[each]).join(' and ');
      throw new TypeError(`${subject}: \`${name}\` is for ${plural}; this function is not one, so remove it.`);
    }
    const meant = Object.hasOwn(MEANT, name) ? MEANT[name] : undefined;
    if (meant !== undefined) throw new TypeError(`${subject} has no option ${JSON.stringify(name)}. ${meant(kind)}`);
    checkMembers(subject, { [name]: value }, known);
  }
  for (const name of BOOLEANS) {
    const value = definition[name];
    if (value === undefined || typeof value === 'boolean') continue;
    throw new TypeError(`${subject}: \`${name}\` is true or false; ${describeGiven(value)} was given.`);
  }
}

/** The longest `maxAge`: a year, as caches understand it. */
export const MAX_AGE = 31_536_000;

/** How a query answers GET. */
export interface HttpAnswers {
  readonly http: 'GET' | null;
  readonly cache: PublicCache | null;
  readonly resultCache: boolean;
}

/** The options `http` and `cache` in a definition. Throws a `TypeError` that begins with `subject`. */
export function httpAnswers(
  { http, cache, share }: LooseDefinition,
  { isPublicQuery, subject }: { readonly isPublicQuery: boolean; readonly subject: string },
): HttpAnswers {
  const refuse = (problem: string): never => {
    throw new TypeError(`${subject}: ${problem}`);
  };
  if (http === undefined && cache === undefined) return { http: null, cache: null, resultCache: true };
  if (!isPublicQuery) {
    return refuse('`http` and `cache` are for queries that clients call; this function is not one, so remove them.');
  }
  if (http !== undefined && http !== 'GET') return refuse("`http` is 'GET'; other methods are not supported.");
  if (cache === false) return { http: http ?? null, cache: null, resultCache: false };
  if (http === undefined) return refuse("`cache: { public: true, maxAge }` needs `http: 'GET'`.");
  if (cache === undefined) return { http, cache: null, resultCache: true };
  const { public: isPublic, maxAge, ...rest } = (cache ?? {}) as Partial<Record<keyof PublicCache, unknown>>;
  const isAge = typeof maxAge === 'number' && Number.isInteger(maxAge) && maxAge >= 0 && maxAge <= MAX_AGE;
  if (isPublic !== true || !isAge) {
    return refuse('`cache` is false, or { public: true, maxAge } with whole seconds up to a year.');
  }
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) return refuse(`\`cache\` has no option ${unknown}; it has public and maxAge.`);
  if (share === false) return refuse('`share: false` keeps results from other callers, so leave out `cache`.');
  return { http, cache: { public: true, maxAge }, resultCache: true };
}

/** The schema of the arguments in a definition. Throws a `TypeError` that begins with `builderName`. */
export function inputSchema(builderName: string, { input, args }: LooseDefinition): ZodType {
  if (input !== undefined && args !== undefined) {
    throw new TypeError(
      `${builderName}({ … }) was given both \`input\` and \`args\`, which are the same; keep \`input\`.`,
    );
  }
  const [name, given = {}] = args === undefined ? ['input', input] : ['args', args];
  if (isZodType(given)) return given;
  if (!isPlainObject(given)) {
    throw new TypeError(
      `${builderName}({ ${name} }) takes an object of Zod schemas, or one z.object(…); ${describeGiven(given)} was given.`,
    );
  }
  for (const [key, schema] of Object.entries(given)) {
    if (!isZodType(schema)) {
      throw new TypeError(
        `${builderName}({ ${name} }): "${key}" is not a Zod 4 schema; use one, such as z.string() or z.number().`,
      );
    }
  }
  return z.object({ ...(given as z.core.$ZodShape) });
}
