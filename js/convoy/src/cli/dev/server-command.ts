/** The developer's own server, which `convoy dev -- <command>` runs in place of its listener. */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** The time for running calls, as `convoy dev` gives its own. */
const STOP_MS = 10_000;

/** A terminal sends Ctrl-C to the command, too, and some programs take a second signal as the wish to end at once. */
const OWN_SIGNAL_MS = 1_000;

export interface ServerCommandOptions {
  /** The program and its arguments. */
  readonly words: readonly string[];
  /** The project's folder, in which it runs. */
  readonly root: string;
  /** Called when it ends by itself, with its exit code. */
  readonly onEnd: (code: number) => void;
  /** Called if it cannot be started. */
  readonly onFailure: (message: string) => void;
}

interface RunningServer {
  readonly child: ChildProcess;
  readonly databaseUrl: string;
  readonly ended: Promise<void>;
  /** Whether `convoy dev` ends it. */
  isEnding: boolean;
}

export class ServerCommand {
  readonly #options: ServerCommandOptions;
  #isStopped = false;
  #running: RunningServer | null = null;

  constructor(options: ServerCommandOptions) {
    this.#options = options;
  }

  /** Starts the command with this `DATABASE_URL`; again, if it runs with another one. Has no effect after `stop`. */
  async start(databaseUrl: string): Promise<void> {
    if (this.#running?.databaseUrl === databaseUrl) return;
    await this.#end();
    if (this.#isStopped) return;
    const { words, root, onEnd, onFailure } = this.#options;
    const [program = '', ...args] = words;
    const child = spawn(program, args, {
      cwd: root,
      stdio: 'inherit',
      env: environment(root, databaseUrl),
      // Programs of npm packages are scripts of the shell there.
      shell: process.platform === 'win32',
    });
    const ended = new Promise<void>((resolve) => {
      child.once('error', (error) => {
        // Other errors are followed by the exit.
        if (child.pid !== undefined) return;
        this.#running = null;
        onFailure(`\`${words.join(' ')}\` could not be started: ${error.message}.`);
        resolve();
      });
      child.once('exit', (code, signal) => {
        const isEnding = this.#running?.isEnding ?? false;
        this.#running = null;
        if (!isEnding) onEnd(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
        resolve();
      });
    });
    this.#running = { child, databaseUrl, ended, isEnding: false };
  }

  /** Ends the command for good, and resolves when it has ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#end();
  }

  async #end(): Promise<void> {
    const running = this.#running;
    if (running === null) return;
    if (running.isEnding) return running.ended;
    running.isEnding = true;
    if (process.stdin.isTTY) await Promise.race([running.ended, pause(OWN_SIGNAL_MS, null, { ref: false })]);
    running.child.kill('SIGTERM');
    const timer = setTimeout(() => running.child.kill('SIGKILL'), STOP_MS);
    await running.ended;
    clearTimeout(timer);
  }
}

/** As that of a script of npm, in development, and with the database. */
function environment(root: string, databaseUrl: string): NodeJS.ProcessEnv {
  const programs = path.join(root, 'node_modules', '.bin');
  const searched = process.env.PATH ? `${programs}${path.delimiter}${process.env.PATH}` : programs;
  return { NODE_ENV: 'development', ...process.env, PATH: searched, DATABASE_URL: databaseUrl };
}
