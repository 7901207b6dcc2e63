/** The engine's rule for sharing results, by the context reads that hosts report. */

import type { Response } from './scripted-engine.js';

/**
 * Whether a result may be shared with a caller: the texts of all keys read by the run equal those of the caller's
 * context. A `null` text matches none, unless `nullsMatch`.
 */
export function mayShare(reads: Response['seen'], context: Response['seen'], nullsMatch = false): boolean {
  if (reads === null) return false;
  if (context === null) throw new Error('a context-only call always reports members');
  return Object.entries(reads).every(([key, text]) => {
    const other = key in context ? context[key] : 'undefined';
    return text === other && (text !== null || nullsMatch);
  });
}

/** The result, or the message of the error, which is sent to the client or to the log. */
export function outcome({ ok, body }: Response): unknown {
  if (ok) return body;
  const failure = body as { readonly thrown: { readonly message: string } } | { readonly message: string };
  return 'thrown' in failure ? failure.thrown.message : failure.message;
}
