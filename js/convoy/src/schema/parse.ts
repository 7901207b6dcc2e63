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
  throw refusal(parsed.error, subject);
}

/** The same, for schemas with async checks or transforms. */
export async function parseOrRefuseAsync<Schema extends ZodType>(
  schema: Schema,
  value: unknown,
  subject: ParseSubject,
): Promise<OutputOf<Schema>> {
  const parsed = await z.safeParseAsync(schema, value);
  if (parsed.success) return parsed.data;
  throw refusal(parsed.error, subject);
}

/** True for the error Zod throws when a schema must be awaited. */
export function isZodAsyncError(error: unknown): boolean {
  return error instanceof z.core.$ZodAsyncError;
}

function refusal(error: z.core.$ZodError, subject: ParseSubject): Error {
  const issues = error.issues.map(valueIssue);
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
