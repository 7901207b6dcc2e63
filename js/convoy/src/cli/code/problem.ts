/** Errors in the user's code with their source locations, from the bundler or from running the code. */
import type { PartialMessage } from 'esbuild';
import { formatMessagesSync } from './esbuild.js';

/** One error in the user's code. */
export interface Diagnostic {
  readonly text: string;
  /** Null where the source location is not known. */
  readonly location: {
    /** The path relative to the project's root. */
    readonly file: string;
    /** From 1. */
    readonly line: number;
    /** In characters, from 0. */
    readonly column: number;
    readonly length?: number;
    /** The line itself. */
    readonly lineText: string;
  } | null;
  readonly notes?: readonly { readonly text: string }[];
}

/** Thrown for code that cannot be used. Its message contains all diagnostics as plain text. */
export class CodeProblem extends Error {
  override readonly name = 'CodeProblem';

  constructor(
    readonly diagnostics: readonly Diagnostic[],
    options?: ErrorOptions,
  ) {
    super(format(diagnostics, false), options);
  }

  format({ color }: { readonly color: boolean }): string {
    return format(this.diagnostics, color);
  }
}

function format(diagnostics: readonly Diagnostic[], color: boolean): string {
  const messages = diagnostics.map(
    ({ text, location, notes }): PartialMessage => ({
      text,
      location: location ? { ...location, length: location.length ?? 0 } : null,
      notes: [...(notes ?? [])],
    }),
  );
  return formatMessagesSync(messages, { kind: 'error', color }).join('').trimEnd();
}
