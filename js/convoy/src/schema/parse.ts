/**
 * Parses a value by a Zod schema and turns a failure into one sentence and a list of issues, each a path and a message.
 * What is being parsed decides which error that becomes.
 */

import * as z from 'zod';
import { ConvoyError } from '../values/errors.js';
import { formatPath } from '../values/json.js';
import type { OutputOf, ZodType } from './zod.js';

/** One thing wrong with a value. */
export interface ValueIssue {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** What is being parsed. */
export interface ParseSubject {
  /** Opens the message: `The arguments do not fit`. */
  readonly saying: string;
  /** The error of a value that does not fit. */
  refuse(message: string, issues: readonly ValueIssue[]): Error;
}

/** A subject whose refusal is the caller's to repair: `INVALID_ARGS` with `details.issues` and what else is given. */
export function callersFault(saying: string, details: Readonly<Record<string, unknown>> = {}): ParseSubject {
  return {
    saying,
    refuse: (message, issues) => new ConvoyError('INVALID_ARGS', message, { details: { ...details, issues } }),
  };
}

/** The parsed value, or the subject's refusal thrown. A schema with async checks throws Zod's async error instead. */
export function parseOrRefuse<Schema extends ZodType>(
  schema: Schema,
  value: unknown,
  subject: ParseSubject,
): OutputOf<Schema> {
  const parsed = z.safeParse(schema, value);
  if (parsed.success) return parsed.data;
  throw refusal(parsed.error.issues.map(valueIssue), subject);
}

/**
 * The same at once where the schema can, or a promise of it where it has async checks. It is run once: a synchronous try
 * would leave the promise of an async check behind, and where that fails nobody would hear of it but the process.
 */
export function parseEarliest<Schema extends ZodType>(
  schema: Schema,
  value: unknown,
  subject: ParseSubject,
): OutputOf<Schema> | Promise<OutputOf<Schema>> {
  const context: z.core.ParseContextInternal = { async: true };
  const finish = ({ value: parsed, issues }: z.core.ParsePayload): OutputOf<Schema> => {
    if (issues.length === 0) return parsed as OutputOf<Schema>;
    const final = issues.map((issue) => z.core.util.finalizeIssue(issue, context, z.core.config()));
    throw refusal(final.map(valueIssue), subject);
  };
  const run = (schema as unknown as z.core.$ZodType)._zod.run({ value, issues: [] }, context);
  return run instanceof Promise ? run.then(finish) : finish(run);
}

/**
 * Refuses what Zod drops without a word: a key called `__proto__` that is in `given`, and not in what was parsed of it.
 * Looks no further than Zod has copied.
 */
export function refuseLostKeys(given: unknown, parsed: unknown, subject: ParseSubject): void {
  const path = lostKey(given, parsed);
  if (path !== null) throw refusal([{ path, message: `no key can be called ${PROTO} here` }], subject);
}

/** True for the error Zod throws when a schema must be awaited. */
export function isZodAsyncError(error: unknown): boolean {
  return error instanceof z.core.$ZodAsyncError;
}

const PROTO = '__proto__';

function lostKey(given: unknown, parsed: unknown): ValueIssue['path'] | null {
  if (given === parsed || !isObject(given) || !isObject(parsed)) return null;
  if (Array.isArray(given)) {
    if (!Array.isArray(parsed)) return null;
    for (let index = 0; index < given.length; index++) {
      const path = lostKey(given[index], parsed[index]);
      if (path !== null) return [index, ...path];
    }
    return null;
  }
  // As everywhere, a key that is undefined counts as absent.
  if (Object.hasOwn(given, PROTO) && given[PROTO] !== undefined && !Object.hasOwn(parsed, PROTO)) return [PROTO];
  for (const key of Object.keys(given)) {
    const path = Object.hasOwn(parsed, key) ? lostKey(given[key], parsed[key]) : null;
    if (path !== null) return [key, ...path];
  }
  return null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function refusal(issues: readonly ValueIssue[], subject: ParseSubject): Error {
  const first = issues[0];
  const place = first === undefined || first.path.length === 0 ? '' : ` at ${formatPath(first.path)}`;
  const message = first === undefined ? `${subject.saying}.` : `${subject.saying}${place}: ${first.message}`;
  return subject.refuse(message, issues);
}

function valueIssue(issue: z.core.$ZodIssue): ValueIssue {
  return {
    path: issue.path.map((step) => (typeof step === 'number' ? step : String(step))),
    message: issue.message,
  };
}
