/** What is wrong in the user's code, with its place, whether the bundler found it or running the code did. */
import { formatMessagesSync, type PartialMessage } from 'esbuild';

/** One mistake. */
export interface CodeMistake {
  readonly text: string;
  /** Null where nothing tells the place. */
  readonly location: {
    /** As the developer would write it, from the project's root. */
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

/** The code cannot be used as it is. Its message has everything in plain text. */
export class CodeProblem extends Error {
  override readonly name = 'CodeProblem';

  constructor(
    readonly mistakes: readonly CodeMistake[],
    options?: ErrorOptions,
  ) {
    super(format(mistakes, false), options);
  }

  format({ color }: { readonly color: boolean }): string {
    return format(this.mistakes, color);
  }
}

function format(mistakes: readonly CodeMistake[], color: boolean): string {
  const messages = mistakes.map(
    ({ text, location, notes }): PartialMessage => ({
      text,
      location: location ? { ...location, length: location.length ?? 0 } : null,
      notes: [...(notes ?? [])],
    }),
  );
  return formatMessagesSync(messages, { kind: 'error', color }).join('').trimEnd();
}
