/** The result of a command: text for people, or with `--json` one JSON value on standard output. */
import { isConvoyError } from '../../values/errors.js';
import { CodeProblem } from '../code/problem.js';
import { ExitCode } from '../exit.js';
import { createTerminal, type Terminal } from '../terminal.js';

export interface OutputFlags {
  readonly json?: boolean;
  readonly verbose?: boolean;
}

/** The result of a command, and whether it exits with 0. */
export interface CommandResult {
  readonly report: object;
  readonly ok: boolean;
}

/**
 * Runs a command. With `--json`, everything but its report goes to standard error, and an error is `{"error":{…}}` on
 * standard output. Rejects with an `ExitCode` if the result is not ok.
 */
export async function runWithOutput(
  flags: OutputFlags,
  terminal: Terminal,
  work: (terminal: Terminal) => Promise<CommandResult>,
): Promise<void> {
  if (flags.json !== true) {
    const { ok } = await work(terminal);
    if (!ok) throw new ExitCode(1);
    return;
  }
  const messages = createTerminal({ verbose: flags.verbose ?? false, stream: process.stderr });
  let result: CommandResult;
  try {
    result = await work(messages);
  } catch (error) {
    if (error instanceof ExitCode) throw error;
    if (error instanceof Error && error.stack) messages.detail(error.stack);
    result = { report: { error: describeError(error) }, ok: false };
  }
  await new Promise<void>((resolve) => {
    process.stdout.write(`${JSON.stringify(result.report, null, 2)}\n`, () => resolve());
  });
  if (!result.ok) throw new ExitCode(1);
}

function describeError(error: unknown): object {
  if (isConvoyError(error)) return { code: error.code, message: error.message, details: error.details };
  if (error instanceof CodeProblem) return { code: 'CODE', message: error.format({ color: false }) };
  return { message: error instanceof Error ? error.message : String(error) };
}
