/** What the engine makes of what hosts say of contexts and runs. */

import type { Response } from './scripted-engine.js';

/** What the engine does: a text for each key the run has looked at, and no text is like none. */
export function mayShare(seen: Response['seen'], says: Response['seen'], noTextsAreAlike = false): boolean {
  if (seen === null) return false;
  if (says === null) throw new Error('a context says something in any case');
  return Object.entries(seen).every(([key, text]) => {
    const said = key in says ? says[key] : 'undefined';
    return text === said && (text !== null || noTextsAreAlike);
  });
}

/** What a caller, or the log, is told. */
export function outcome({ ok, body }: Response): unknown {
  return ok ? body : (body as { thrown: { message: string } }).thrown.message;
}
