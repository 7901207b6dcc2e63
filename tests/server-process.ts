/** A Convoy server in a process of its own: it can be measured, signalled and killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

/** The exit code, or the signal that has ended a process. */
type ProcessEnd = readonly [code: number | null, signal: NodeJS.Signals | null];

interface ServerOptions {
  /** A file in `programs/`. */
  readonly program: string;
  /** The options of the server, as JSON can carry them; `failpoints` among them. */
  readonly options: object;
  /** Of Node, such as `--expose-gc`. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export class ServerProcess {
  readonly process: ChildProcess;
  /** Resolves to the exit code and the signal. */
  readonly ended: Promise<ProcessEnd>;
  /** What it has printed to both streams. */
  printed = '';
  baseUrl = '';
  readonly #onPrinted = new Set<() => void>();

  private constructor({ program, options, flags = [], env = {} }: ServerOptions) {
    const file = fileURLToPath(new URL('./programs/serve.mjs', import.meta.url));
    const url = new URL(`./programs/${program}`, import.meta.url).href;
    this.process = spawn(process.execPath, [...flags, file], {
      env: { ...process.env, ...env, PROGRAM: url, OPTIONS: JSON.stringify(options) },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.ended = once(this.process, 'exit').then(([code, signal]): ProcessEnd => [code, signal]);
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.printed += text;
        for (const wake of this.#onPrinted) wake();
      });
    }
  }

  /** Resolves when it listens. */
  static async start(options: ServerOptions): Promise<ServerProcess> {
    const server = new ServerProcess(options);
    const ended = server.ended.then(([code, signal]) => {
      throw new Error(`The server has ended (${code ?? signal}):\n${server.printed}`);
    });
    // A server that ends later is the test's business.
    ended.catch(() => {});
    await Promise.race([server.untilPrints(/listens on \S+\n/), ended]);
    server.baseUrl = /listens on (\S+)/.exec(server.printed)?.[1] ?? '';
    return server;
  }

  /** Waits until its output matches. */
  async untilPrints(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.printed)) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#onPrinted.delete(wake);
          resolve();
        };
        this.#onPrinted.add(wake);
      });
    }
  }

  get port(): number {
    return Number(new URL(this.baseUrl).port);
  }

  /** Its resident memory in bytes, on Linux. */
  async resident(): Promise<number> {
    const status = await readFile(`/proc/${this.process.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024;
  }

  /** Ends it by a signal; resolves to its exit code and the signal that has ended it. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<ProcessEnd> {
    this.process.kill(signal);
    return this.ended;
  }
}
