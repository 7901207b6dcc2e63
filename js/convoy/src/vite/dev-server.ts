/**
 * `convoy dev` as a child process of Vite's, one per project. It outlives restarts of Vite's server and ends with Vite.
 *
 * The child has its own process group: a signal from the terminal reaches only Vite, which then stops the child. If Vite
 * is killed, the channel to the child closes, and the child stops itself.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import pc from 'picocolors';
import type { DevProblem } from '../cli/dev/report.js';
import type { DevSettings, FromDevProcess, ToDevProcess } from './messages.js';
import { stopOnSignals } from './signals.js';

/** Longer than the nine seconds that `convoy dev` gives running calls. */
const STOP_MS = 15_000;

type Unsubscribe = () => void;

export class DevServer {
  /** Resolves when the code was first loaded, could not be loaded, or the process has ended. Never rejects. */
  readonly settled: Promise<void>;
  /** The project's folder. */
  readonly root: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #printed = new Listeners<string>();
  readonly #problems = new Listeners<DevProblem | null>();
  readonly #ends = new Listeners<string>();
  #url: string | null = null;
  #pageUrl: string | null = null;
  #problem: DevProblem | null = null;
  #hasEnded = false;
  #stopping = false;

  constructor(settings: DevSettings, program = fileURLToPath(new URL('./dev-process.js', import.meta.url))) {
    this.root = settings.root;
    this.#child = fork(program, [JSON.stringify(settings)], {
      detached: true,
      // A debugger or loader for Vite is not one for Convoy.
      execArgv: [],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...process.env, ...(pc.isColorSupported ? { FORCE_COLOR: '1' } : {}) },
    });
    // The output of functions, and the log of the engine.
    this.#child.stdout?.pipe(process.stdout, { end: false });
    this.#child.stderr?.pipe(process.stderr, { end: false });
    this.#exited = new Promise((resolve) => {
      this.#child.on('error', (error) => {
        // Other errors, such as of a message, are followed by the exit.
        if (this.#child.pid === undefined) resolve(this.#end(`Convoy could not be started: ${error.message}.`));
      });
      this.#child.once('exit', (code, signal) =>
        resolve(this.#end(`Convoy has ended (${signal ?? `exit code ${code}`}).`)),
      );
    });
    this.settled = new Promise((resolve) => {
      void this.#exited.then(resolve);
      this.#child.on('message', (message: FromDevProcess) => {
        this.#receive(message);
        if (message.kind === 'loaded' || message.kind === 'problem') resolve();
      });
    });
  }

  /** The URL to send requests to, without a path; `null` while nothing is served. */
  get url(): string | null {
    return this.#hasEnded ? null : this.#url;
  }

  /** The page with functions, tables and logs; `null` while nothing is served. */
  get pageUrl(): string | null {
    return this.#hasEnded ? null : this.#pageUrl;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Why the current code is not loaded, or `null`. */
  get problem(): DevProblem | null {
    return this.#problem;
  }

  onPrint(listener: (text: string) => void): Unsubscribe {
    return this.#printed.add(listener);
  }

  /** Called with each new problem, and with `null` when it is solved. */
  onProblem(listener: (problem: DevProblem | null) => void): Unsubscribe {
    return this.#problems.add(listener);
  }

  /** Called with the reason when the process has ended without `stop`. */
  onEnd(listener: (reason: string) => void): Unsubscribe {
    return this.#ends.add(listener);
  }

  /** Resolves when the process has ended. */
  async stop(): Promise<void> {
    if (this.#hasEnded) return;
    this.#stopping = true;
    if (this.#child.connected) this.#child.send({ kind: 'stop' } satisfies ToDevProcess);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    await this.#exited;
    clearTimeout(timer);
  }

  #receive(message: FromDevProcess): void {
    switch (message.kind) {
      case 'print':
        this.#printed.emit(message.text);
        break;
      case 'serving':
        this.#url = message.url;
        this.#pageUrl = message.pageUrl;
        break;
      case 'loaded':
        this.#setProblem(null);
        break;
      case 'problem':
        this.#setProblem(message.problem);
        break;
    }
  }

  #setProblem(problem: DevProblem | null): void {
    const changed = problem !== null || this.#problem !== null;
    this.#problem = problem;
    if (changed) this.#problems.emit(problem);
  }

  #end(reason: string): void {
    this.#hasEnded = true;
    if (this.#stopping) return;
    if (this.#problem === null) this.#setProblem({ message: reason, diagnostics: [] });
    this.#ends.emit(reason);
  }
}

/** The `convoy dev` processes of this process, shared by the Vite servers that use the same project. */
export class DevServers {
  readonly #servers = new Map<string, { readonly devServer: DevServer; users: number }>();
  readonly #start: (settings: DevSettings) => DevServer;
  #ignoreSignals: (() => void) | null = null;

  constructor(start = (settings: DevSettings) => new DevServer(settings)) {
    this.#start = start;
  }

  /** Kept outside of this module, which Vite may load again when it restarts. */
  static ofThisProcess(): DevServers {
    const holder = globalThis as { [registryKey]?: DevServers };
    holder[registryKey] ??= new DevServers();
    return holder[registryKey];
  }

  /** Starts `convoy dev`, or joins the one that runs with these settings. The last `release` stops it. */
  acquire(settings: DevSettings): { readonly devServer: DevServer; release(): Promise<void> } {
    const key = JSON.stringify(settings);
    let entry = this.#servers.get(key);
    if (entry === undefined || entry.devServer.hasEnded) {
      entry = { devServer: this.#start(settings), users: 0 };
      this.#servers.set(key, entry);
    }
    this.#ignoreSignals ??= stopOnSignals(async () => {
      await Promise.all([...this.#servers.values()].map((each) => each.devServer.stop()));
    });
    const { devServer } = entry;
    const acquired = entry;
    acquired.users += 1;
    return {
      devServer,
      release: async () => {
        acquired.users -= 1;
        if (acquired.users > 0) return;
        if (this.#servers.get(key) === acquired) this.#servers.delete(key);
        await devServer.stop();
        if (this.#servers.size > 0) return;
        this.#ignoreSignals?.();
        this.#ignoreSignals = null;
      },
    };
  }
}

const registryKey = Symbol.for('@avvos/convoy/vite dev servers');

/** Listeners of one event. What is emitted before the first listener is added is kept for it. */
class Listeners<T> {
  readonly #all = new Set<(value: T) => void>();
  #early: T[] = [];

  add(listener: (value: T) => void): Unsubscribe {
    this.#all.add(listener);
    for (const value of this.#early) listener(value);
    this.#early = [];
    return () => this.#all.delete(listener);
  }

  emit(value: T): void {
    if (this.#all.size === 0) this.#early.push(value);
    for (const listener of this.#all) listener(value);
  }
}
