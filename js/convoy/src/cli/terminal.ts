/** The output of the commands: steps with a spinner on a terminal and plain lines elsewhere, and results in colour. */
import pc from 'picocolors';
import type { CodeProblem } from './code/problem.js';
import { startSpinner, type TerminalStream } from './spinner.js';

/** A step in progress. */
export interface Step {
  /** Updates the text that is shown while the step runs. */
  now(text: string): void;
  /** Sets the text that is shown once the step has succeeded. */
  result(text: string): void;
}

export interface Terminal {
  /** Shows `text` while `work` runs, then marks it as succeeded or failed. */
  step<T>(text: string, work: (step: Step) => Promise<T>): Promise<T>;
  done(text: string): void;
  info(text: string): void;
  warn(text: string): void;
  fail(text: string): void;
  /** Prints the errors in the user's code: file, line, column, message and the line itself. */
  problem(problem: CodeProblem): void;
  /** Prints names and values in two columns. */
  table(rows: readonly (readonly [string, string])[]): void;
  /** Printed only with `--verbose` or `CONVOY_DEBUG=1`. */
  detail(text: string): void;
}

export interface TerminalOptions {
  readonly verbose: boolean;
  readonly stream?: TerminalStream & { readonly isTTY?: boolean };
}

export function createTerminal({ verbose, stream = process.stdout }: TerminalOptions): Terminal {
  const print = (text: string) => {
    stream.write(`${text}\n`);
  };
  // Some pseudo-terminals have no width, and a spinner would clear infinitely many lines on them.
  const canSpin = stream.isTTY === true && (stream.columns ?? 0) > 0;
  const done = (text: string) => print(`${pc.green('✔')} ${text}`);
  const fail = (text: string) => print(`${pc.red('✖')} ${text}`);
  return {
    async step(text, work) {
      const line = canSpin ? spinningLine(stream, text, { done, fail }) : plainLine(text, { print, done, fail });
      let result = text;
      try {
        const value = await work({
          now: line.now,
          result: (message) => {
            result = message;
          },
        });
        line.done(result);
        return value;
      } catch (error) {
        line.fail();
        throw error;
      }
    },
    done,
    fail,
    info: (text) => print(`${pc.blue('ℹ')} ${text}`),
    warn: (text) => print(`${pc.yellow('⚠')} ${text}`),
    problem: (problem) => print(problem.format({ color: pc.isColorSupported })),
    table: (rows) => {
      const width = Math.max(...rows.map(([name]) => name.length));
      print('');
      for (const [name, value] of rows) print(`  ${pc.bold(name.padEnd(width))}  ${value}`);
      print('');
    },
    detail: (text) => {
      if (verbose) print(pc.dim(text));
    },
  };
}

/** The line of one step. */
interface StepLine {
  now(text: string): void;
  done(text: string): void;
  fail(): void;
}

function spinningLine(
  stream: TerminalStream,
  text: string,
  out: Record<'done' | 'fail', (text: string) => void>,
): StepLine {
  const spinner = startSpinner(stream, text);
  const end = (print: (text: string) => void, message: string) => {
    spinner.stop();
    print(message);
  };
  return {
    now: (message) => {
      spinner.text = message;
    },
    done: (message) => end(out.done, message),
    fail: () => end(out.fail, spinner.text),
  };
}

/** For logs: one line when the step begins and one when it ends. */
function plainLine(text: string, out: Record<'print' | 'done' | 'fail', (text: string) => void>): StepLine {
  let current = text;
  const now = (message: string) => {
    current = message;
    out.print(`- ${message}…`);
  };
  now(text);
  return { now, done: out.done, fail: () => out.fail(current) };
}
