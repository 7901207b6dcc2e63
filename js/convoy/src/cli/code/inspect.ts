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
  readonly hasRoutes: boolean;
  readonly configuresServer: boolean;
}

export type Inspect = (bundle: Bundle, files: ProjectFiles, layout: ProjectLayout) => Promise<InspectedCode>;

/** The input of the inspection thread. */
export interface InspectionTask {
  readonly bundle: Bundle;
  readonly files: ProjectFiles;
  readonly layout: ProjectLayout;
}

/** The result of the inspection thread. */
export type Inspection =
  | { readonly code: InspectedCode }
  | { readonly diagnostics: readonly Diagnostic[] }
  | { readonly message: string; readonly stack: string | undefined };

/** The time limit for loading the user's modules. */
const LOAD_TIMEOUT_MS = 10_000;

/** Inspects the bundle. Throws a CodeProblem for errors thrown while the user's modules are evaluated. */
export async function inspectOnThread(
  bundle: Bundle,
  files: ProjectFiles,
  layout: ProjectLayout,
): Promise<InspectedCode> {
  const task: InspectionTask = { bundle, files, layout };
  const thread = new Worker(new URL('./inspect-thread.js', import.meta.url), {
    workerData: task,
    stdout: true,
    stderr: true,
  });
  const printed: string[] = [];
  for (const stream of [thread.stdout, thread.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => printed.push(text));
  }
  const inspection = new Promise<Inspection>((resolve, reject) => {
    thread.once('message', resolve);
    thread.once('error', reject);
    thread.once('exit', (code) =>
      reject(
        new Error(`The thread that loads the code ended with exit code ${code}: does the code call process.exit?`),
      ),
    );
  });
  try {
    return await inspectedCode(inspection, task);
  } catch (error) {
    // Otherwise, this output is printed where the code runs.
    process.stderr.write(printed.join(''));
    throw error;
  } finally {
    await thread.terminate();
  }
}

/** The module that inspects code on the thread that imports it. */
export const INSPECTION_MODULE = new URL('./inspect-here.js', import.meta.url);

/** Runs a task in another thread: imports the module there, and calls its default export. */
export type EvaluateElsewhere = (module: URL, task: InspectionTask) => Promise<unknown>;

/** The same on a thread that has another owner, which must end it if this fails. */
export async function inspectElsewhere(evaluate: EvaluateElsewhere, task: InspectionTask): Promise<InspectedCode> {
  const evaluation = evaluate(INSPECTION_MODULE, task);
  return inspectedCode(evaluation as Promise<Inspection>, task);
}

/** The result of an inspection, with a time limit; a rejection is an error of the code. */
async function inspectedCode(
  inspection: Promise<Inspection>,
  { bundle, layout }: InspectionTask,
): Promise<InspectedCode> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(LOAD_TIMEOUT_MESSAGE)), LOAD_TIMEOUT_MS);
  });
  try {
    return unwrap(
      await Promise.race([inspection, timeout]).catch((cause: unknown) => {
        throw new CodeProblem([diagnosticOf(cause, bundle, layout.root)], { cause });
      }),
    );
  } finally {
    clearTimeout(timer);
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
