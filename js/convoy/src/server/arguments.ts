/** Encodes the arguments of a function as JSON, and decodes and parses them where the function runs. */

import { parseMaybeAsync, refuseDroppedKeys, strippedKeys, type ZodType } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import { formatPath, jsonText } from '../values/json.js';
import { resultProblem } from '../values/server-json.js';
import { boundedValue, MAX_MESSAGE_BYTES } from './bounded-json.js';
import type { DevWarnings } from './dev-warnings.js';
import { ARGUMENTS } from './functions.js';
import { parseJson } from './parse-json.js';

/** The JSON of `args`; without arguments `{}`. Throws `INVALID_ARGS` with the path of a value JSON cannot represent. */
export function argumentsJson(args: unknown): string {
  const value = args ?? {};
  const sent = boundedValue('The arguments', value, MAX_MESSAGE_BYTES);
  const problem = resultProblem(value);
  if (problem === null) return jsonText(sent) ?? '{}';
  const place = formatPath(problem.path) || 'The arguments';
  throw new ConvoyError('INVALID_ARGS', `${place} ${problem.reason}.`, {
    details: { issues: [{ path: problem.path, message: problem.reason }] },
  });
}

/**
 * Decodes arguments from JSON and parses them by `input`; returns a promise if the schema is async. Fails with
 * `INVALID_ARGS`. In development, dropped keys are reported to `warnings`.
 */
export function argumentsIn(text: string, input: ZodType, warnings: DevWarnings | null = null): unknown {
  const received = readJson(text);
  for (const key of warnings === null ? [] : strippedKeys(input, received)) {
    warnings?.warn(`the argument \`${key}\` is not in its \`input\`, so it is dropped. Is it misspelled?`);
  }
  const parsed = parseMaybeAsync(input, received, ARGUMENTS);
  // Only a text with `__proto__`, perhaps escaped, can have keys that parsing loses.
  if (!text.includes('__proto__') && !text.includes('\\u')) return parsed;
  const complete = (args: unknown): unknown => {
    refuseDroppedKeys(received, args, ARGUMENTS);
    return args;
  };
  return parsed instanceof Promise ? parsed.then(complete) : complete(parsed);
}

function readJson(text: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    throw new ConvoyError('INVALID_ARGS', `The arguments are not JSON: ${(error as Error).message}.`);
  }
}
