/** Arguments on their way to a function: checked and said as JSON, as they would be on the wire. */

import { ConvoyError } from '../values/errors.js';
import { formatPath, sendingProblem } from '../values/json.js';

/** The JSON of `args`; none are `{}`. Throws `INVALID_ARGS` with the path of what JSON cannot say. */
export function argumentsJson(args: unknown): string {
  const given = args ?? {};
  const problem = sendingProblem(given);
  if (problem === null) return JSON.stringify(given);
  const place = formatPath(problem.path) || 'The arguments';
  throw new ConvoyError('INVALID_ARGS', `${place} ${problem.reason}.`, {
    details: { issues: [{ path: problem.path, message: problem.reason }] },
  });
}
