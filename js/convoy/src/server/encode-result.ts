/** What a call's end looks like on its way to the engine: a result or a failure, as JSON text. Total: never throws. */

import { inspect } from 'node:util';
import { isConvoyError } from '../values/errors.js';
import { formatPath, type JsonProblem, jsonText, sendingProblem } from '../values/json.js';
import { MOST_RESULT, mustFit } from './bounded-json.js';
import { ResultError } from './functions.js';
import type { LossyValues } from './lossy-values.js';
import { userStack } from './user-stack.js';

/** The most characters of an error's message and of its stack. */
const MOST_SAID = 16_384;

export interface ResultOptions {
  /** The most bytes of its JSON. */
  readonly most?: number;
  /** What the call has read that JavaScript cannot hold. */
  readonly lossy?: LossyValues | null;
}

/** The JSON of what the function `name` returned; nothing returned is `null`. Throws a `ResultError`, or `PAYLOAD_TOO_LARGE`. */
export function resultJson(name: string, result: unknown, options: ResultOptions = {}): string {
  const { most = MOST_RESULT, lossy = null } = options;
  if (result === undefined || result === null) return 'null';
  const sent = mustFit(`${name}: what it returned`, result, most);
  if (lossy !== null) return lossyJson(name, result, sent, lossy);
  const problem = sendingProblem(result);
  if (problem !== null) throw new ResultError(`${name}: ${sayProblem(problem)}.`);
  return jsonText(sent) ?? 'null';
}

/** The same of a call that read what JavaScript cannot hold; where that is in the way, it is named. */
function lossyJson(name: string, result: unknown, sent: unknown, lossy: LossyValues): string {
  try {
    lossy.adopt(result);
    if (sent !== result) lossy.adopt(sent);
    const problem = sendingProblem(result, lossy);
    if (problem === null) return lossy.stringify(sent);
    throw new ResultError(`${name}: ${sayProblem(problem)}. It read what JavaScript cannot hold: ${lossy.origins()}.`);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const deep = 'what it returned nests too deeply to be sent';
    throw new ResultError(`${name}: ${deep}. It read what JavaScript cannot hold: ${lossy.origins()}.`);
  }
}

function sayProblem({ path, reason }: JsonProblem): string {
  return `${path.length === 0 ? 'what it returned' : `\`${formatPath(path)}\` of what it returned`} ${reason}`;
}

/** The failure `error` stands for: a `ConvoyError` whole, of anything else the message and stack, for the log. */
export function failureJson(error: unknown): string {
  try {
    if (!isConvoyError(error)) return thrownJson(error);
    const { code, message, details, status } = error;
    if (typeof code !== 'string' || typeof message !== 'string') return thrownJson(error);
    const [said, sent] = mustFit(`The details of an error (${code})`, [message, details], MOST_RESULT) as [
      string,
      unknown,
    ];
    return wellFormedJson({ code, message: said, details: sent, status });
  } catch (unsayable) {
    // Details that are not JSON, or an error whose properties throw.
    return thrownJson(unsayable);
  }
}

function thrownJson(error: unknown): string {
  let message = 'something that cannot be described was thrown';
  let stack = '';
  try {
    message = error instanceof Error ? String(error.message) : `${inspect(error)} was thrown, which is no Error`;
    // What is wrong with a result is found once the function is over, so no frame is the user's. Otherwise `inspect` also
    // shows causes and the fields of database and system errors.
    stack = error instanceof ResultError ? `${error.name}: ${message}` : userStack(inspect(error));
  } catch {
    stack = message;
  }
  return wellFormedJson({ thrown: { message: cut(message), stack: cut(stack) } });
}

/** What an error says may be of any length, and all of it would travel to the log, where it is cut anyway. */
function cut(text: string): string {
  const over = text.length - MOST_SAID;
  return over <= 0 ? text : `${text.slice(0, MOST_SAID)} … (${over} more characters were cut)`;
}

/** `value` as JSON, U+FFFD for each lone half of a surrogate pair: an error may quote text that nothing else can read. */
function wellFormedJson(value: object): string {
  const text = JSON.stringify(value);
  // Only such a half is said as `\ud…`; other escapes, `\\` among them, are stepped over.
  return text.includes('\\ud')
    ? text.replace(/\\(?:(ud[89a-f])..|.)/g, (said, half) => (half ? '\ufffd' : said))
    : text;
}
