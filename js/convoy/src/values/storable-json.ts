/**
 * Checks whether a value can be stored in Postgres as JSON without loss, and finds the first place where not: it must
 * be read back equal, so it has no `Date`, no `toJSON`, and no text that Postgres rejects. Apart from `json.ts`, because
 * clients only send.
 */
import { ConvoyError } from './errors.js';
import { formatPath, type JsonProblem, type LossyText, problemHere, problemIn } from './json.js';
import { SERVER_REPLACEMENTS } from './server-json.js';

/** The first part of `value` that cannot be stored in a document, or `null`. Keys with `undefined` count as absent. */
export function storageProblem(value: unknown, lossy: LossyText | null = null): JsonProblem | null {
  return problemIn(value, { callsToJSON: false, lossy, replacements: SERVER_REPLACEMENTS, textProblem });
}

/**
 * Throws `INVALID_ARGS` with the path if a document cannot contain `value`. `details` is added to the error's details.
 */
export function assertStorable(
  value: unknown,
  details: { readonly table?: string } = {},
  lossy: LossyText | null = null,
): void {
  const problem = storageProblem(value, lossy);
  if (problem === null) return;
  const where = formatPath(problem.path);
  const place =
    details.table === undefined ? where || 'The value' : `${details.table}${where === '' ? '' : `: ${where}`}`;
  throw new ConvoyError('INVALID_ARGS', `${place} ${problem.reason}.`, {
    details: { ...details, issues: [{ path: problem.path, message: problem.reason }] },
  });
}

/** What Postgres cannot store of a text, as the rest of a sentence after it, or `null`. */
export function unstorableText(text: string): string | null {
  if (text.includes('\u0000')) return 'contains the character \\u0000, which Postgres cannot store';
  if (!isWellFormed(text)) return 'contains an unpaired surrogate, which is not valid Unicode';
  return null;
}

function textProblem(text: string): JsonProblem | null {
  const reason = unstorableText(text);
  return reason === null ? null : problemHere(reason);
}

/**
 * ES2024's `isWellFormed`, available in every supported runtime but not yet in the library types of this compiler
 * target.
 */
function isWellFormed(text: string): boolean {
  return (text as string & { isWellFormed(): boolean }).isWellFormed();
}
