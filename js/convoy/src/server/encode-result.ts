/** Encodes the result or the failure of a call as JSON for the engine. Encoding a failure never throws. */

import { inspect } from 'node:util';
import { isConvoyError } from '../values/errors.js';
import { formatPath, type JsonProblem, jsonText } from '../values/json.js';
import { resultProblem } from '../values/server-json.js';
import { boundedValue, DEFAULT_MAX_RESULT_BYTES } from './bounded-json.js';
import { ResultError } from './functions.js';
import type { LossyValues } from './lossy-values.js';
import { userStack } from './user-stack.js';

/** The maximum length of an error's message, and of its stack. */
const MAX_ERROR_CHARACTERS = 16_384;

export interface ResultOptions {
  /** The maximum size of the JSON. */
  readonly maxBytes?: number;
  /** Values the call has read that JavaScript cannot represent exactly. */
  readonly lossy?: LossyValues | null;
}

/** The JSON of the result of the function `name`; `undefined` is `null`. Throws a `ResultError` or `PAYLOAD_TOO_LARGE`. */
export function resultJson(name: string, result: unknown, options: ResultOptions = {}): string {
  const { maxBytes = DEFAULT_MAX_RESULT_BYTES, lossy = null } = options;
  if (result === undefined || result === null) return 'null';
  const sent = boundedValue(`${name}: its result`, result, maxBytes);
  if (lossy !== null) return lossyJson(name, result, sent, lossy);
  const problem = resultProblem(result);
  if (problem !== null) throw new ResultError(`${name}: ${describeProblem(problem)}.`);
  return jsonText(sent) ?? 'null';
}

/** The same for a call that has read lossy values; errors caused by them name the documents. */
function lossyJson(name: string, result: unknown, sent: unknown, lossy: LossyValues): string {
  try {
    lossy.adopt(result);
    if (sent !== result) lossy.adopt(sent);
    const problem = resultProblem(result, lossy);
    if (problem === null) return lossy.stringify(sent);
    throw new ResultError(`${name}: ${describeProblem(problem)}. ${describeOrigins(lossy)}`);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ResultError(`${name}: its result is nested too deeply to be sent. ${describeOrigins(lossy)}`);
  }
}

function describeOrigins(lossy: LossyValues): string {
  return `It read values that JavaScript cannot represent: ${lossy.origins()}.`;
}

function describeProblem({ path, reason }: JsonProblem): string {
  return `${path.length === 0 ? 'its result' : `\`${formatPath(path)}\` of its result`} ${reason}`;
}

/** The JSON of a failure: a `ConvoyError` in full; of any other error its message and stack, for the log. */
export function failureJson(error: unknown): string {
  try {
    if (!isConvoyError(error)) return thrownJson(error);
    const { code, message, details, status } = error;
    if (typeof code !== 'string' || typeof message !== 'string') return thrownJson(error);
    const subject = `The details of an error (${code})`;
    const sent = boundedValue(subject, [message, details], DEFAULT_MAX_RESULT_BYTES) as [string, unknown];
    return wellFormedJson({ code, message: sent[0], details: sent[1], status });
  } catch (encodingError) {
    // Details that are not JSON, or an error whose properties throw.
    return thrownJson(encodingError);
  }
}

function thrownJson(error: unknown): string {
  let message = 'a value that cannot be inspected was thrown';
  let stack = '';
  try {
    message = error instanceof Error ? String(error.message) : `${inspect(error)} was thrown, which is not an Error`;
    // A `ResultError` is thrown after the handler has returned, so its stack has no user frames. For other errors
    // `inspect` also prints causes and the fields of database and system errors.
    stack = error instanceof ResultError ? `${error.name}: ${message}` : userStack(inspect(error));
  } catch {
    stack = message;
  }
  return wellFormedJson({ thrown: { message: cut(message), stack: cut(stack) } });
}

/** Truncates long messages here, because the log truncates them anyway. */
function cut(text: string): string {
  const excess = text.length - MAX_ERROR_CHARACTERS;
  return excess <= 0 ? text : `${text.slice(0, MAX_ERROR_CHARACTERS)} … (${excess} more characters were cut)`;
}

/** `value` as JSON, with U+FFFD for each lone surrogate: an error may quote text that is not valid Unicode. */
function wellFormedJson(value: object): string {
  const text = JSON.stringify(value);
  // Only lone surrogates are escaped as `\ud…`; the pattern also consumes other escapes, `\\` among them, as they are.
  return text.includes('\\ud')
    ? text.replace(/\\(?:(ud[89a-f])..|.)/g, (match, surrogate) => (surrogate ? '\ufffd' : match))
    : text;
}
