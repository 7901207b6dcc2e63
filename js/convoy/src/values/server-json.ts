/** The check of `json.ts` for a server, whose functions may also send what a client never has. */
import { type JsonProblem, type LossyText, problemIn, REPLACEMENTS } from './json.js';

/** What to use instead of objects that a server may have. */
export const SERVER_REPLACEMENTS: Readonly<Record<string, string>> = Object.assign(Object.create(null), REPLACEMENTS, {
  Date: 'store a number (date.getTime()) or a string (date.toISOString())',
  TableScan: 'end the query with collect(), take(n) or first()',
});

/** The first part of `value` that a server cannot send as JSON, or `null`; see `sendingProblem`. */
export function resultProblem(value: unknown, lossy: LossyText | null = null): JsonProblem | null {
  return problemIn(value, { callsToJSON: true, lossy, replacements: SERVER_REPLACEMENTS });
}
