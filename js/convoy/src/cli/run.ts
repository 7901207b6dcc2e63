/** Runs one command line and maps its result to an exit code. Catches and prints every error. */
import { CommanderError } from 'commander';
import { loadNative } from '../server/native.js';
import { redirectOutput } from '../server/output.js';
import { CodeProblem } from './code/problem.js';
import { defineCommands } from './commands.js';
import { describeError } from './dev/fault.js';
import { ExitCode } from './exit.js';
import { ReportedFailure } from './result.js';
import { createTerminal, type Terminal } from './terminal.js';

/** `args` without `node` and the script. Resolves to the exit code. */
export async function runCli(args: readonly string[]): Promise<number> {
  const verbose = process.env.CONVOY_DEBUG === '1' || args.includes('--verbose') || args.includes('-v');
  printWithoutBlocking(args);
  const terminal = createTerminal({ verbose });
  try {
    await defineCommands(terminal, args).parseAsync([...args], { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof ReportedFailure) return error.exitCode;
    // Commander has already printed the usage error or the requested help.
    if (error instanceof CommanderError) return error.exitCode;
    if (error instanceof ExitCode) return error.code;
    report(error, terminal);
    return 1;
  }
}

function report(error: unknown, terminal: Terminal): void {
  if (error instanceof CodeProblem) {
    terminal.problem(error);
    return;
  }
  terminal.fail(describeError(error));
  if (error instanceof Error && error.stack) terminal.detail(error.stack);
}

/** A slow or closed reader of stdout or stderr must neither block nor end the server. */
function printWithoutBlocking([command]: readonly string[]): void {
  if (command === 'dev' || command === 'init' || command === 'start') {
    try {
      redirectOutput(loadNative());
      return;
    } catch {
      // The command that needs the engine reports why it cannot be loaded.
    }
  }
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
}
