/** Runs one command line and turns how it ended into an exit code. Nothing escapes it. */
import { CommanderError } from 'commander';
import { loadNative } from '../server/native.js';
import { printBy } from '../server/output.js';
import { CodeProblem } from './code/problem.js';
import { defineCommands } from './commands.js';
import { createTerminal, type Terminal } from './terminal.js';

/** `args` without `node` and the script. Resolves to the exit code. */
export async function runCli(args: readonly string[]): Promise<number> {
  const verbose = process.env.CONVOY_DEBUG === '1' || args.includes('--verbose') || args.includes('-v');
  printCalmly(args);
  const terminal = createTerminal({ verbose });
  try {
    await defineCommands(terminal).parseAsync([...args], { from: 'user' });
    return 0;
  } catch (error) {
    // Commander has printed what was wrong with the command line, or the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode;
    report(error, terminal);
    return 1;
  }
}

function report(error: unknown, terminal: Terminal): void {
  if (error instanceof CodeProblem) {
    terminal.problem(error);
    return;
  }
  terminal.fail(error instanceof Error ? error.message : String(error));
  if (error instanceof Error && error.stack) terminal.detail(error.stack);
}

/** Nobody who reads what is printed, or does not, may hold up or end what serves. */
function printCalmly([command]: readonly string[]): void {
  if (command === 'dev' || command === 'init') {
    try {
      printBy(loadNative());
      return;
    } catch {
      // Whoever needs the engine says why there is none.
    }
  }
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
}
