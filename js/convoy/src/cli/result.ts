/**
 * The result of a command, for people or with `--json` for programs: one object on standard output, with progress and
 * warnings on standard error.
 */
import { Console } from 'node:console';
import { errorPayloadFrom, isConvoyError } from '../values/errors.js';
import { CodeProblem } from './code/problem.js';
import { createTerminal, type Terminal } from './terminal.js';

/** Thrown after the error was printed. */
export class ReportedFailure extends Error {
  constructor(readonly exitCode = 1) {
    super('The command has failed, and has printed why.');
  }
}

export interface ResultFlags {
  readonly json?: boolean;
  readonly verbose?: boolean;
}

/** Runs `work`. With `--json`, prints its result, or its error as `{ "ok": false, "error": { code?, message, … } }`. */
export async function withResult(
  flags: ResultFlags,
  terminal: Terminal,
  work: (terminal: Terminal) => Promise<object>,
): Promise<void> {
  if (!flags.json) {
    await work(terminal);
    return;
  }
  try {
    const result = await work(progressTerminal(flags));
    printJson({ ok: true, ...result });
  } catch (error) {
    if (error instanceof ReportedFailure) throw error;
    printJson({ ok: false, error: payloadOf(error) });
    throw new ReportedFailure();
  }
}

/** A terminal on standard error, where standard output is for the result. */
export function progressTerminal({ verbose = false }: ResultFlags): Terminal {
  return createTerminal({ verbose: verbose || process.env.CONVOY_DEBUG === '1', stream: process.stderr });
}

/** A terminal that shows progress only with `--verbose`, for a command that is short, and often part of a pipe. */
export function quietTerminal(terminal: Terminal): Terminal {
  return {
    ...terminal,
    step: (name, work) => {
      terminal.detail(name);
      return work({ now: terminal.detail, result: terminal.detail });
    },
    done: terminal.detail,
    info: terminal.detail,
  };
}

/** From now on, what user code prints is on standard error, and does not mix with the result. */
export function printToStandardError(): void {
  globalThis.console = new Console(process.stderr, process.stderr);
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** The error as data: code, message and details of a `ConvoyError`, the message of another. */
export function payloadOf(error: unknown): object {
  if (isConvoyError(error)) return errorPayloadFrom(error);
  return { message: error instanceof Error ? error.message : String(error) };
}

/** Prints an error to a terminal on standard error. */
export function reportFailure(error: unknown, terminal: Terminal): void {
  if (error instanceof CodeProblem) {
    terminal.problem(error);
    return;
  }
  const { code, message, details } = payloadOf(error) as { code?: string; message: string; details?: unknown };
  terminal.fail(code === undefined ? message : `${code}: ${message}`);
  if (error instanceof Error && error.stack) terminal.detail(error.stack);
  if (details !== undefined) process.stderr.write(`${JSON.stringify(details, null, 2)}\n`);
}
