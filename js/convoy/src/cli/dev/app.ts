/**
 * Compiles the project for `convoy dev`, loads it into a running Convoy, and replaces it when it changes.
 *
 * When new code has an error, the last good code keeps serving. Each error is reported once, and so is its fix.
 */
import path from 'node:path';
import type { Convoy } from '../../server/convoy.js';
import type { LoadReport } from '../../server/native.js';
import { convoyError } from '../../values/errors.js';
import { removeOldBuilds } from '../code/bundle.js';
import type { PreparedProject, WrittenFiles } from '../code/compile.js';
import type { InspectedCode } from '../code/inspect.js';
import { CodeProblem } from '../code/problem.js';
import { count } from '../count.js';
import type { ProjectLayout } from '../options.js';
import type { Terminal } from '../terminal.js';
import { DevCompiler } from './compiler.js';
import { databaseFault, describeError } from './fault.js';
import { type ChangeTimes, SaveTrace } from './save-trace.js';

export interface DevAppOptions {
  readonly layout: ProjectLayout;
  readonly terminal: Terminal;
  /** Ensures that the database that the environment names now is running. */
  readonly prepare: () => Promise<void>;
  /** Opens a Convoy that runs the program in this file. */
  readonly open: (program: string) => Promise<Convoy>;
  /** Reloads `.env` if it is among these files. */
  readonly readEnv: (changed: readonly string[]) => EnvChange;
  /** Whether more changes have arrived while the last ones were handled; waits until those are complete. */
  readonly isSuperseded: () => Promise<boolean>;
  /** Whether code will change, so that threads for the next change are worth their start. */
  readonly watches: boolean;
  /** Schedules a `refresh` without a changed file after a delay. */
  readonly scheduleRetry: () => void;
  /** Called with the source files of each successful build. */
  readonly onInputs: (files: readonly string[]) => void;
  /** Called once, when the first good code has been loaded. */
  readonly onOpened: (convoy: Convoy) => Promise<void>;
  /** Called whenever the current code has been loaded. */
  readonly onLoaded: () => void;
  /** Called whenever the current code or the database cannot be used. */
  readonly onProblem: (error: unknown) => void;
}

/** The effect of a changed `.env`. */
export interface EnvChange {
  /** The variables whose values changed. */
  readonly names: readonly string[];
  readonly otherDatabase: boolean;
}

export class DevApp {
  readonly #options: DevAppOptions;
  readonly #compiler: DevCompiler;
  #convoy: Convoy | null = null;
  #hash: string | null = null;
  #failing = false;
  /** Compiled code that could not be loaded yet because the database is unavailable. */
  #pending: PreparedProject | null = null;
  #code: Pick<InspectedCode, 'functions' | 'tables'> = { functions: [], tables: [] };
  /** The end of the last refresh or restart; these never overlap. */
  #turn: Promise<void> = Promise.resolve();
  /** The database fault that was reported last. */
  #reportedFault: string | null = null;

  /** Leftovers and code warnings that were printed; each is printed once. */
  readonly #printed = new Set<string>();

  constructor(options: DevAppOptions) {
    this.#options = options;
    this.#compiler = new DevCompiler(options.layout);
  }

  /** The Convoy that serves; throws while there is none. */
  get convoy(): Convoy {
    if (this.#convoy === null) throw convoyError('UNAVAILABLE', 'convoy dev is starting.');
    return this.#convoy;
  }

  /** The loaded code. */
  get code(): Pick<InspectedCode, 'functions' | 'tables'> {
    return this.#code;
  }

  /** Closes Convoy, and opens it with the current code. Errors are reported. */
  async restart(): Promise<void> {
    await this.#exclusively(async () => {
      try {
        const previous = this.#convoy;
        this.#convoy = null;
        this.#pending = null;
        await previous?.close();
        await this.start();
        this.#failing = false;
      } catch (error) {
        this.report(error);
      }
    });
  }

  /**
   * Compiles the code and opens Convoy. Rejects with a message for the developer when the code or the database prevents
   * it.
   */
  async start(): Promise<void> {
    const { terminal, prepare, open, onOpened, onLoaded, onInputs } = this.#options;
    const compiled =
      this.#pending ??
      (await terminal.step('Compiling', async (step) => {
        const result = await this.#compiler.compile(null);
        const files = await result.writeGenerated();
        step.result(`Compiled ${count(result.functionCount, 'function')}${writtenIn(files)}`);
        return result;
      }));
    onInputs(compiled.inputs);
    this.#pending = compiled;
    await prepare();
    const convoy = this.#reportedFault === null ? await this.#openWithProgress(compiled) : await open(compiled.program);
    if (this.#reportedFault !== null) terminal.done(`The database is available now${createdIn(convoy.loaded)}`);
    this.#convoy = convoy;
    this.#reportedFault = null;
    this.#warn(convoy.loaded);
    await this.#loaded(compiled);
    await onOpened(convoy);
    onLoaded();
    await this.#prepareNext(compiled, convoy);
  }

  #openWithProgress(compiled: PreparedProject): Promise<Convoy> {
    return this.#options.terminal.step('Opening the database', async (step) => {
      const opened = await this.#options.open(compiled.program);
      step.result(`The database is up to date${createdIn(opened.loaded)}`);
      return opened;
    });
  }

  /**
   * Compiles and loads the current code; without changed files, loads the code that is pending. Never rejects: errors
   * are reported, and the last good code stays.
   */
  async refresh(changed: readonly string[], times: ChangeTimes): Promise<void> {
    await this.#exclusively(() => this.#refresh(changed, times));
  }

  async #exclusively(work: () => Promise<void>): Promise<void> {
    this.#turn = this.#turn.then(work);
    await this.#turn;
  }

  async #refresh(changed: readonly string[], times: ChangeTimes): Promise<void> {
    try {
      await this.#reloadEnv(changed);
      if (changed.length > 0) this.#pending = null;
      if (this.#convoy === null) {
        await this.start();
        this.#failing = false;
        return;
      }
      await this.#replace(this.#convoy, changed, times);
      this.#failing = false;
      this.#reportedFault = null;
      this.#options.onLoaded();
    } catch (error) {
      // The files were half written, or only some of them; the next call has the others.
      if (error instanceof CodeProblem && (await this.#options.isSuperseded())) return;
      this.report(error);
    }
  }

  /** Compiles the current code and loads it first; everything that can wait follows. */
  async #replace(convoy: Convoy, changed: readonly string[], times: ChangeTimes): Promise<void> {
    const { terminal, onInputs } = this.#options;
    const trace = new SaveTrace(times);
    trace.mark('waited');
    const compiled = this.#pending ?? (await this.#compiler.compile(convoy, trace));
    this.#pending = compiled;
    if (compiled.hash !== this.#hash) {
      const report = await convoy.load({ program: compiled.program });
      trace.add('joined', report.took?.importMs ?? 0);
      trace.add('swapped', report.took?.swapMs ?? 0);
      const took = `${Math.round(trace.totalMs)} ms`;
      const files = await compiled.writeGenerated();
      this.#warn(report);
      const what = this.#failing ? 'Fixed: new code loaded' : `${this.#nameOf(changed)} changed: loaded`;
      terminal.done(`${what} in ${took}${writtenIn(files)}${createdIn(report)}`);
      terminal.detail(`save to live: ${trace}`);
    } else {
      await compiled.writeGenerated();
      if (this.#failing) terminal.done('Fixed: the code matches the code that is serving');
    }
    onInputs(compiled.inputs);
    await this.#loaded(compiled);
    await this.#prepareNext(compiled, convoy);
  }

  /** Workers keep the environment of their start, so a change takes a new load; another database takes a new Convoy. */
  async #reloadEnv(changed: readonly string[]): Promise<void> {
    const { names, otherDatabase } = this.#options.readEnv(changed);
    if (names.length === 0) return;
    this.#options.terminal.info(`.env was reloaded: ${names.join(', ')} changed`);
    this.#reportedFault = null;
    this.#hash = null;
    this.#compiler.forget();
    if (!otherDatabase) return;
    const previous = this.#convoy;
    this.#convoy = null;
    await previous?.close();
  }

  /** Prints the error and what is being served meanwhile. */
  report(error: unknown): void {
    const { terminal } = this.#options;
    this.#failing = true;
    this.#options.onProblem(error);
    const fault = databaseFault(error);
    if (fault !== null) {
      this.#options.scheduleRetry();
      // The attempt repeats every few seconds; the fault is printed once.
      if (this.#reportedFault === fault.message) return;
      this.#reportedFault = fault.message;
    } else {
      this.#reportedFault = null;
    }
    if (error instanceof CodeProblem) terminal.problem(error);
    else terminal.fail(describeError(error));
    if (error instanceof Error && error.stack) terminal.detail(error.stack);
    const then =
      fault === null
        ? 'the server starts when this is fixed and saved'
        : 'retrying every few seconds, and whenever .env or the code changes';
    terminal.info(this.#convoy === null ? `Not serving yet; ${then}` : 'The last good code keeps serving');
  }

  /** Closes Convoy after the calls in flight have finished. */
  async close(): Promise<void> {
    await Promise.all([this.#convoy?.close(), this.#compiler.close()]);
  }

  /** Called after this code was loaded: prints its warnings, and removes old builds. */
  async #loaded({ hash, warnings, code }: PreparedProject): Promise<void> {
    this.#code = code;
    for (const warning of warnings) {
      if (!this.#printed.has(warning)) this.#options.terminal.warn(warning);
      this.#printed.add(warning);
    }
    this.#hash = hash;
    await removeOldBuilds(this.#options.layout.buildFolder, hash);
  }

  async #prepareNext(compiled: PreparedProject, convoy: Convoy): Promise<void> {
    if (this.#options.watches) await this.#compiler.prepareNext(compiled, convoy);
  }

  #warn(report: LoadReport): void {
    for (const warning of report.warnings) this.#options.terminal.warn(warning);
    for (const thing of report.leftOver) {
      if (this.#printed.has(thing)) continue;
      this.#printed.add(thing);
      this.#options.terminal.info(`Left unchanged: ${thing}`);
    }
  }

  #nameOf(changed: readonly string[]): string {
    const [first = this.#options.layout.convoyFolder, ...rest] = changed;
    const name = path.relative(this.#options.layout.root, first);
    return rest.length === 0 ? name : `${name} and ${count(rest.length, 'more file')}`;
  }
}

function writtenIn({ written, removed }: WrittenFiles): string {
  const wrote = written.length === 0 ? '' : `, wrote ${written.join(', ')}`;
  return removed.length === 0 ? wrote : `${wrote}, deleted ${removed.join(', ')}, which an earlier version wrote`;
}

function createdIn({ created }: LoadReport): string {
  return created.length === 0 ? '' : `, created ${created.join(', ')}`;
}
