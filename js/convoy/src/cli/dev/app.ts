/**
 * The code that `convoy dev` serves: compiled, loaded into a running Convoy, and replaced when it changes.
 *
 * Whatever is wrong with new code, the last good one goes on serving; what was wrong is said once, and that it is fixed
 * is said too.
 */
import path from 'node:path';
import type { Convoy } from '../../server/convoy.js';
import type { LoadReport } from '../../server/native.js';
import { removeOldBuilds } from '../code/bundle.js';
import { type CompiledProject, compileProject } from '../code/compile.js';
import { CodeProblem } from '../code/problem.js';
import { count } from '../count.js';
import type { ProjectLayout } from '../options.js';
import type { Terminal } from '../terminal.js';
import { databaseFault } from './fault.js';

export interface DevAppOptions {
  readonly layout: ProjectLayout;
  readonly terminal: Terminal;
  /** Makes sure that the database the environment names now is there. */
  readonly prepare: () => Promise<void>;
  /** Opens a Convoy with the program of this file in it. */
  readonly open: (program: string) => Promise<Convoy>;
  /** Reads `.env` again where it is among these files. */
  readonly readEnv: (changed: readonly string[]) => EnvChange;
  /** Asks for a `refresh` without a changed file, after a while. */
  readonly tryAgain: () => void;
  /** Called with the files a good build was made from. */
  readonly onInputs: (files: readonly string[]) => void;
  /** Called once, when the first good code has been loaded. */
  readonly onOpened: (convoy: Convoy) => Promise<void>;
}

/** What a changed `.env` means. */
export interface EnvChange {
  /** The variables whose values changed. */
  readonly names: readonly string[];
  readonly otherDatabase: boolean;
}

export class DevApp {
  readonly #options: DevAppOptions;
  #convoy: Convoy | null = null;
  #hash: string | null = null;
  #failing = false;
  /** Good code that the database did not let in yet. */
  #ready: CompiledProject | null = null;
  /** The fault of the database that was said. */
  #fault: string | null = null;

  /** What was said to be left over, or warned of in the code: once is enough. */
  readonly #said = new Set<string>();

  constructor(options: DevAppOptions) {
    this.#options = options;
  }

  /** Compiles and opens. Rejects, in words for the developer, when the code or the database does not let it. */
  async start(): Promise<void> {
    const { terminal, layout, prepare, open, onOpened, onInputs } = this.#options;
    const compiled =
      this.#ready ??
      (await terminal.step('Compiling', async (step) => {
        const result = await compileProject(layout);
        step.result(`Compiled ${count(result.functionCount, 'function')}${writtenIn(result)}`);
        return result;
      }));
    onInputs(compiled.inputs);
    this.#ready = compiled;
    await prepare();
    const convoy = this.#fault === null ? await this.#openAloud(compiled) : await open(compiled.program);
    if (this.#fault !== null) terminal.done(`The database can be used now${createdIn(convoy.loaded)}`);
    this.#convoy = convoy;
    this.#fault = null;
    this.#warn(convoy.loaded);
    await this.#keep(compiled);
    await onOpened(convoy);
  }

  #openAloud(compiled: CompiledProject): Promise<Convoy> {
    return this.#options.terminal.step('Opening the database', async (step) => {
      const opened = await this.#options.open(compiled.program);
      step.result(`The database is up to date${createdIn(opened.loaded)}`);
      return opened;
    });
  }

  /**
   * Puts the code as it is now in place; without `changed`, what the database did not let in. Never rejects: what is wrong
   * is said, and the last good code stays.
   */
  async refresh(changed: readonly string[]): Promise<void> {
    const { terminal } = this.#options;
    const began = performance.now();
    try {
      await this.#heedEnv(changed);
      if (changed.length > 0) this.#ready = null;
      if (this.#convoy === null) {
        await this.start();
        this.#failing = false;
        return;
      }
      const compiled = this.#ready ?? (await compileProject(this.#options.layout));
      this.#ready = compiled;
      this.#options.onInputs(compiled.inputs);
      if (compiled.hash !== this.#hash) {
        const report = await this.#convoy.load({ program: compiled.program });
        this.#warn(report);
        const took = `${Math.round(performance.now() - began)} ms`;
        const what = this.#failing ? 'Fixed: the new code is in place' : `${this.#nameOf(changed)} changed: in place`;
        terminal.done(`${what} in ${took}${writtenIn(compiled)}${createdIn(report)}`);
      } else if (this.#failing) {
        terminal.done('Fixed: the code is again what is being served');
      }
      this.#failing = false;
      this.#fault = null;
      await this.#keep(compiled);
    } catch (error) {
      this.report(error);
    }
  }

  /** Workers have the environment of their start, so what it was changed to takes a load; another database, another Convoy. */
  async #heedEnv(changed: readonly string[]): Promise<void> {
    const { names, otherDatabase } = this.#options.readEnv(changed);
    if (names.length === 0) return;
    this.#options.terminal.info(`.env was read again: ${names.join(', ')} changed`);
    this.#fault = null;
    this.#hash = null;
    if (!otherDatabase) return;
    const before = this.#convoy;
    this.#convoy = null;
    await before?.close();
  }

  /** Says what is wrong and what goes on meanwhile. */
  report(error: unknown): void {
    const { terminal } = this.#options;
    this.#failing = true;
    const fault = databaseFault(error);
    if (fault !== null) {
      this.#options.tryAgain();
      // It is tried every few seconds, and said once.
      if (this.#fault === fault.message) return;
      this.#fault = fault.message;
    } else {
      this.#fault = null;
    }
    if (error instanceof CodeProblem) terminal.problem(error);
    else terminal.fail(error instanceof Error ? error.message : String(error));
    if (error instanceof Error && error.stack) terminal.detail(error.stack);
    const then =
      fault === null
        ? 'it will be as soon as this is fixed and saved'
        : 'this is tried again every few seconds, and whenever .env or the code changes';
    terminal.info(this.#convoy === null ? `Nothing is served yet; ${then}` : 'The last good code goes on serving');
  }

  /** Lets calls in flight finish. */
  async close(): Promise<void> {
    await this.#convoy?.close();
  }

  async #keep({ hash, warnings }: CompiledProject): Promise<void> {
    for (const warning of warnings) {
      if (!this.#said.has(warning)) this.#options.terminal.warn(warning);
      this.#said.add(warning);
    }
    this.#hash = hash;
    await removeOldBuilds(this.#options.layout.buildFolder, hash);
  }

  #warn(report: LoadReport): void {
    for (const warning of report.warnings) this.#options.terminal.warn(warning);
    for (const thing of report.leftOver) {
      if (this.#said.has(thing)) continue;
      this.#said.add(thing);
      this.#options.terminal.info(`Left as it is: ${thing}`);
    }
  }

  #nameOf(changed: readonly string[]): string {
    const [first = this.#options.layout.convoyFolder, ...rest] = changed;
    const name = path.relative(this.#options.layout.root, first);
    return rest.length === 0 ? name : `${name} and ${count(rest.length, 'more file')}`;
  }
}

function writtenIn({ written, removed }: CompiledProject): string {
  const wrote = written.length === 0 ? '' : `, wrote ${written.join(', ')}`;
  return removed.length === 0 ? wrote : `${wrote}, deleted ${removed.join(', ')}, which an earlier version wrote`;
}

function createdIn({ created }: LoadReport): string {
  return created.length === 0 ? '' : `, created ${created.join(', ')}`;
}
