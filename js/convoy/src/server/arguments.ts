/** Arguments on their way to a function: checked and said as JSON, as on the wire, and parsed where they arrive. */

import { parseEarliest, refuseLostKeys, strippedKeys, type ZodType } from '../schema/index.js';
import { ConvoyError } from '../values/errors.js';
import { formatPath, jsonText, sendingProblem } from '../values/json.js';
import { MOST_CROSSING, mustFit } from './bounded-json.js';
import type { DevWarnings } from './dev-warnings.js';
import { ARGUMENTS } from './functions.js';

/** The JSON of `args`; none are `{}`. Throws `INVALID_ARGS` with the path of what JSON cannot say. */
export function argumentsJson(args: unknown): string {
  const given = args ?? {};
  const sent = mustFit('The arguments', given, MOST_CROSSING);
  const problem = sendingProblem(given);
  if (problem === null) return jsonText(sent) ?? '{}';
  const place = formatPath(problem.path) || 'The arguments';
  throw new ConvoyError('INVALID_ARGS', `${place} ${problem.reason}.`, {
    details: { issues: [{ path: problem.path, message: problem.reason }] },
  });
}

/**
 * What `input` makes of arguments that arrived as JSON, or a promise of it. Fails with `INVALID_ARGS`. In development
 * `warnings` is told of keys that are dropped.
 */
export function argumentsIn(text: string, input: ZodType, warnings: DevWarnings | null = null): unknown {
  const given = readJson(text);
  for (const key of warnings === null ? [] : strippedKeys(input, given)) {
    warnings?.warn(`the argument \`${key}\` is not in its \`input\`, so it is dropped. Is it misspelled?`);
  }
  const parsed = parseEarliest(input, given, ARGUMENTS);
  // An escape may stand for any character.
  if (!text.includes('__proto__') && !text.includes('\\u')) return parsed;
  const complete = (args: unknown): unknown => {
    refuseLostKeys(given, args, ARGUMENTS);
    return args;
  };
  return parsed instanceof Promise ? parsed.then(complete) : complete(parsed);
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ConvoyError('INVALID_ARGS', `The arguments are not JSON: ${(error as Error).message}.`);
  }
}
