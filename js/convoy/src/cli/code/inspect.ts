/**
 * Inspects a bundle by evaluating it on a separate thread, which then ends. Side effects of loading the user's modules
 * (an endless loop, a timer that throws, a memory leak) do not affect this thread.
 */
import { Worker } from 'node:worker_threads';
import type { ProjectFunction, ProjectTable } from '../../codegen/index.js';
import type { ProjectLayout } from '../options.js';
import type { Bundle } from './bundle.js';
import type { ProjectFiles } from './files.js';
import { CodeProblem, type Diagnostic } from './problem.js';
import { diagnosticOf } from './source-location.js';

/** The contents of a bundle, as plain data. */
export interface InspectedCode {
  readonly schemaExport: 'default' | 'schema';
  /** The description of the schema, for the engine. */
  readonly schema: unknown;
  readonly tables: readonly ProjectTable[];
  readonly functions: readonly ProjectFunction[];
  readonly hasContext: boolean;
  readonly configuresServer: boolean;
}

export type Inspect = (bundle: Bundle, files: ProjectFiles, layout: ProjectLayout) => Promise<InspectedCode>;

/** The input of the inspection thread. */
export interface InspectionTask {
  readonly bundle: Bundle;
  readonly files: ProjectFiles;
  readonly layout: ProjectLayout;
}

/** What the thread receives: at most one module to import ahead, then its task. */
export type ToInspectionThread = InspectionTask | { readonly preload: string };

/** The result of the inspection thread. */
export type Inspection =
  | { readonly code: InspectedCode }
  | { readonly diagnostics: readonly Diagnostic[] }
  | { readonly message: string; readonly stack: string | undefined };

/** The time limit for loading the user's modules. */
const LOAD_TIMEOUT_MS = 10_000;

/** Inspects the bundle. Throws a CodeProblem for errors thrown while the user's modules are evaluated. */
export const inspectOnThread: Inspect = (bundle, files, layout) =>
  new InspectionThread().inspect({ bundle, files, layout }, { print: true });

/** Inspects bundles, and keeps the thread for the next one ready. */
export class Inspector {
  #next: InspectionThread | null = null;
  #preload: string | null = null;

  /** Without `print`, what the code prints is dropped even if it fails; it then runs elsewhere, too. */
  inspect(task: InspectionTask, { print }: { readonly print: boolean }): Promise<InspectedCode> {
    const thread = this.#next ?? new InspectionThread();
    this.#next = null;
    return thread.inspect(task, { print });
  }

  /** Starts the thread of the next inspection, which imports this module first. */
  prepare(preload: string): void {
    if (this.#next !== null && this.#preload === preload) return;
    void this.#next?.end();
    this.#preload = preload;
    const next = new InspectionThread();
    next.preload(preload);
    this.#next = next;
    next.onExit(() => {
      if (this.#next === next) this.#next = null;
    });
  }

  async close(): Promise<void> {
    await this.#next?.end();
    this.#next = null;
  }
}

/** A thread for one inspection. */
class InspectionThread {
  readonly #thread = new Worker(new URL('./inspect-thread.js', import.meta.url), { stdout: true, stderr: true });
  readonly #printed: string[] = [];

  constructor() {
    for (const stream of [this.#thread.stdout, this.#thread.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => this.#printed.push(text));
    }
  }

  onExit(listener: () => void): void {
    this.#thread.once('error', listener).once('exit', listener);
  }

  preload(address: string): void {
    this.#thread.postMessage({ preload: address } satisfies ToInspectionThread);
  }

  async inspect(task: InspectionTask, { print }: { readonly print: boolean }): Promise<InspectedCode> {
    const { bundle, layout } = task;
    let timer: NodeJS.Timeout | undefined;
    try {
      return unwrap(
        await new Promise<Inspection>((resolve, reject) => {
          const fail = (text: string, cause?: unknown) =>
            reject(
              new CodeProblem([cause ? diagnosticOf(cause, bundle, layout.root) : { text, location: null }], { cause }),
            );
          this.#thread.once('message', resolve);
          this.#thread.once('error', (error) => fail(String(error), error));
          this.#thread.once('exit', (code) =>
            fail(`The thread that loads the code ended with exit code ${code}: does the code call process.exit?`),
          );
          timer = setTimeout(() => fail(LOAD_TIMEOUT_MESSAGE), LOAD_TIMEOUT_MS);
          this.#thread.postMessage(task satisfies ToInspectionThread);
        }),
      );
    } catch (error) {
      // Otherwise, this output is printed where the code runs.
      if (print) process.stderr.write(this.#printed.join(''));
      throw error;
    } finally {
      clearTimeout(timer);
      // The result is complete, and the end of the thread needs no wait.
      void this.end();
    }
  }

  async end(): Promise<void> {
    await this.#thread.terminate();
  }
}

const LOAD_TIMEOUT_MESSAGE =
  `The code has not been loaded after ${LOAD_TIMEOUT_MS / 1_000} seconds. Look outside of functions for an endless loop, ` +
  'or an await that never resolves.';

function unwrap(inspection: Inspection): InspectedCode {
  if ('code' in inspection) return inspection.code;
  if ('diagnostics' in inspection) throw new CodeProblem(inspection.diagnostics);
  const { message, stack } = inspection;
  throw Object.assign(new Error(message), { stack: stack ?? message });
}
