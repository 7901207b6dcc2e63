/**
 * Parses a value with a Zod schema and converts a failure into one sentence and a list of issues, each a path and a
 * message. The subject of the parse determines the error.
 */

import * as z from 'zod';
import { ConvoyError } from '../values/errors.js';
import { formatPath } from '../values/json.js';
import type { OutputOf, ZodType } from './zod.js';

/** One reason why a value does not match its schema. */
export interface ValueIssue {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** The kind of value that is parsed. */
export interface ParseSubject {
  /** The beginning of the message: `The arguments do not fit`. */
  readonly messagePrefix: string;
  /** Creates the error for a value that does not match. */
  toError(message: string, issues: readonly ValueIssue[]): Error;
}

/** A subject that the caller provides: its error is `INVALID_ARGS` with `details.issues` and the given details. */
export function callerInput(messagePrefix: string, details: Readonly<Record<string, unknown>> = {}): ParseSubject {
  return {
    messagePrefix,
    toError: (message, issues) => new ConvoyError('INVALID_ARGS', message, { details: { ...details, issues } }),
  };
}

/** The parsed value; throws the subject's error. A schema with async checks throws Zod's async error instead. */
export function parseOrThrow<Schema extends ZodType>(
  schema: Schema,
  value: unknown,
  subject: ParseSubject,
): OutputOf<Schema> {
  const parsed = z.safeParse(schema, value);
  if (parsed.success) return parsed.data;
  throw parseError(parsed.error.issues.map(valueIssue), subject);
}

/**
 * The parsed value, or a promise of it where the schema has async checks; fails with the subject's error. The schema
 * runs only once: a synchronous attempt first would leave the promise of an async check behind, whose rejection would
 * be unhandled.
 */
export function parseMaybeAsync<Schema extends ZodType>(
  schema: Schema,
  value: unknown,
  subject: ParseSubject,
): OutputOf<Schema> | Promise<OutputOf<Schema>> {
  const context: z.core.ParseContextInternal = { async: true };
  const finish = ({ value: parsed, issues }: z.core.ParsePayload): OutputOf<Schema> => {
    if (issues.length === 0) return parsed as OutputOf<Schema>;
    const final = issues.map((issue) => z.core.util.finalizeIssue(issue, context, z.core.config()));
    throw parseError(final.map(valueIssue), subject);
  };
  const run = (schema as unknown as z.core.$ZodType)._zod.run({ value, issues: [] }, context);
  return run instanceof Promise ? run.then(finish) : finish(run);
}

/**
 * Throws the subject's error if Zod has silently dropped a key named `__proto__`: it is in `given` and not in `parsed`.
 * Compares only the parts that Zod has copied.
 */
export function refuseDroppedKeys(given: unknown, parsed: unknown, subject: ParseSubject): void {
  const path = droppedKey(given, parsed);
  if (path !== null) throw parseError([{ path, message: `a key named ${PROTO} is not allowed here` }], subject);
}

/** True for the error that Zod throws when a schema has async checks. */
export function isZodAsyncError(error: unknown): boolean {
  return error instanceof z.core.$ZodAsyncError;
}

const PROTO = '__proto__';

function droppedKey(given: unknown, parsed: unknown): ValueIssue['path'] | null {
  if (given === parsed || !isObject(given) || !isObject(parsed)) return null;
  if (Array.isArray(given)) {
    if (!Array.isArray(parsed)) return null;
    for (let index = 0; index < given.length; index++) {
      const path = droppedKey(given[index], parsed[index]);
      if (path !== null) return [index, ...path];
    }
    return null;
  }
  // A key with the value undefined counts as absent.
  if (Object.hasOwn(given, PROTO) && given[PROTO] !== undefined && !Object.hasOwn(parsed, PROTO)) return [PROTO];
  for (const key of Object.keys(given)) {
    const path = Object.hasOwn(parsed, key) ? droppedKey(given[key], parsed[key]) : null;
    if (path !== null) return [key, ...path];
  }
  return null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function parseError(issues: readonly ValueIssue[], subject: ParseSubject): Error {
  const first = issues[0];
  const place = first === undefined || first.path.length === 0 ? '' : ` at ${formatPath(first.path)}`;
  const message =
    first === undefined ? `${subject.messagePrefix}.` : `${subject.messagePrefix}${place}: ${first.message}`;
  return subject.toError(message, issues);
}

function valueIssue(issue: z.core.$ZodIssue): ValueIssue {
  return {
    path: issue.path.map((step) => (typeof step === 'number' ? step : String(step))),
    message: issue.message,
  };
}
