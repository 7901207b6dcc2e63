/** The reports of `convoy dev` to a program that runs it, beside its output. */
import { CodeProblem, type Diagnostic } from '../code/problem.js';

export type DevReport =
  /** The server listens at this URL, without a path. `pageUrl` is the page with functions, tables and logs. */
  | { readonly kind: 'serving'; readonly url: string; readonly pageUrl: string }
  /** The current code is loaded, so earlier problems are solved. */
  | { readonly kind: 'loaded' }
  /** The current code or the database cannot be used. */
  | { readonly kind: 'problem'; readonly problem: DevProblem };

export interface DevProblem {
  readonly message: string;
  /** The errors in the user's code; empty where the problem has another cause. */
  readonly diagnostics: readonly Diagnostic[];
}

export function problemOf(error: unknown): DevProblem {
  const message = error instanceof Error ? error.message : String(error);
  return { message, diagnostics: error instanceof CodeProblem ? error.diagnostics : [] };
}
