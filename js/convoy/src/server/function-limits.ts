/**
 * The limits of one function, in place of those of `createConvoy`, and its rate limit: types, and what is refused when the
 * function is built.
 *
 * Safe in a browser: this file uses neither Node nor the engine.
 */

import { describeGiven } from '../values/kind.js';

/** How often one caller may call a function: each has a bucket of tokens, and each call takes one. */
export interface RateLimit {
  /**
   * Who has a bucket. `'identity'`: each user of `ctx.auth`; callers who are not signed in, or without `ctx.auth`, count by
   * address. `'address'`: each client address, checked before `createContext` runs. One network of IPv6 (/64) counts as one.
   */
  readonly per: 'identity' | 'address';
  /** The tokens of a full bucket, and so the calls that may come at once; 1 to 100,000. */
  readonly tokens: number;
  /** The tokens added each second until the bucket is full; from 1/86,400 (one a day) to 100,000. */
  readonly refillPerSecond: number;
  /**
   * Whether all processes on the database share the buckets (false: each process has its own). Each call then takes a
   * statement of its own first.
   */
  readonly shared?: boolean;
}

/** The limits of a query, in place of those of `createConvoy`. */
export interface QueryLimits {
  /**
   * How long a call may take, in milliseconds, and each statement of a query or a mutation; up to ten minutes, of an action
   * up to a day. `TIMEOUT`.
   */
  readonly timeoutMs?: number;
  /** Documents that a call may read, up to 10,000,000; `PAYLOAD_TOO_LARGE`. */
  readonly maxDocumentsRead?: number;
  /** The largest result, in bytes, up to 256 MiB; `PAYLOAD_TOO_LARGE`. */
  readonly resultBytes?: number;
  /** How often one caller may call it, or subscribe to it; `RATE_LIMITED`. Re-runs of live queries are free. */
  readonly rateLimit?: RateLimit;
}

/** The limits of an action, in place of those of `createConvoy`. */
export interface ActionLimits extends QueryLimits {
  /** Documents that a call may write, up to 10,000,000; `PAYLOAD_TOO_LARGE`. */
  readonly maxDocumentsWritten?: number;
}

/** The limits of a mutation, in place of those of `createConvoy`. */
export interface MutationLimits extends ActionLimits {
  /** How often it is retried after a conflict with another write, up to 100; `CONFLICT`. */
  readonly retries?: number;
}

/** The limits of a function as the engine gets them. */
export type OwnLimits = Omit<MutationLimits, 'rateLimit'>;

/** The checked limits of a function. */
export interface FunctionLimits {
  readonly limits: OwnLimits;
  readonly rateLimit: RateLimit | null;
}

type LimitName = keyof OwnLimits;

const TEN_MINUTES = 600_000;
const A_DAY = 86_400_000;

/** By name: the smallest and the largest value. */
const RANGES = {
  timeoutMs: [1, TEN_MINUTES],
  retries: [0, 100],
  maxDocumentsRead: [0, 10_000_000],
  maxDocumentsWritten: [0, 10_000_000],
  resultBytes: [1, 256 * 1024 * 1024],
} as const satisfies Record<LimitName, readonly [number, number]>;

const NAMES = {
  query: ['timeoutMs', 'maxDocumentsRead', 'resultBytes'],
  mutation: ['timeoutMs', 'maxDocumentsRead', 'maxDocumentsWritten', 'resultBytes', 'retries'],
  action: ['timeoutMs', 'maxDocumentsRead', 'maxDocumentsWritten', 'resultBytes'],
} as const satisfies Record<string, readonly LimitName[]>;

/** The most tokens of a bucket, and the most that are added each second. */
export const MAX_RATE = 100_000;

/** The limits in a definition. Throws a `TypeError` that begins with `subject`, such as `query({ … })`. */
export function functionLimits(
  definition: object,
  {
    kind,
    internal,
    subject,
  }: { readonly kind: keyof typeof NAMES; readonly internal: boolean; readonly subject: string },
): FunctionLimits {
  const given = definition as Partial<Record<LimitName | 'rateLimit', unknown>>;
  const allowed: readonly string[] = NAMES[kind];
  const limits: Partial<Record<LimitName, number>> = {};
  for (const [name, range] of Object.entries(RANGES) as [LimitName, readonly [number, number]][]) {
    const value = given[name];
    if (value === undefined) continue;
    if (!allowed.includes(name))
      throw new TypeError(`${subject}: \`${name}\` is no limit of this kind of function; remove it.`);
    const [min, max] = name === 'timeoutMs' && kind === 'action' ? [range[0], A_DAY] : range;
    if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max) {
      throw new TypeError(
        `${subject}: \`${name}\` is a whole number from ${number(min)} to ${number(max)}; ${describeGiven(value)} was given.`,
      );
    }
    limits[name] = value as number;
  }
  if (given.rateLimit === undefined) return { limits, rateLimit: null };
  if (internal) {
    throw new TypeError(
      `${subject}: a \`rateLimit\` is for functions that clients call; this one is not, so remove it.`,
    );
  }
  const problem = rateLimitProblem(given.rateLimit);
  if (problem !== null) throw new TypeError(`${subject}: ${problem}`);
  return { limits, rateLimit: given.rateLimit as RateLimit };
}

/** What is wrong with a `rateLimit`, for its developer. */
export function rateLimitProblem(value: unknown): string | null {
  if (typeof value !== 'object' || value === null) {
    return "`rateLimit` is { per: 'identity' | 'address', tokens, refillPerSecond, shared? }.";
  }
  const { per, tokens, refillPerSecond, shared, ...rest } = value as Partial<Record<keyof RateLimit, unknown>>;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined)
    return `\`rateLimit\` has no option ${unknown}; it has per, tokens, refillPerSecond and shared.`;
  if (per !== 'identity' && per !== 'address') return "`rateLimit.per` is 'identity' or 'address'.";
  if (!Number.isSafeInteger(tokens) || (tokens as number) < 1 || (tokens as number) > MAX_RATE) {
    return `\`rateLimit.tokens\` is a whole number from 1 to ${number(MAX_RATE)}; ${describeGiven(tokens)} was given.`;
  }
  if (shared !== undefined && typeof shared !== 'boolean') {
    return `\`rateLimit.shared\` is true or false; ${describeGiven(shared)} was given.`;
  }
  const refill = typeof refillPerSecond === 'number' ? refillPerSecond : Number.NaN;
  if (!(refill >= 1 / 86_400 && refill <= MAX_RATE)) {
    return `\`rateLimit.refillPerSecond\` is a number from 1/86,400 to ${number(MAX_RATE)}; ${describeGiven(refillPerSecond)} was given.`;
  }
  return null;
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}
