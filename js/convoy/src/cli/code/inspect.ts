/**
 * Finds out what a bundle holds by evaluating it on a thread of its own, which then ends: whatever the user's modules do
 * when they are loaded (a loop, a timer that throws, memory they keep), it is not this thread's trouble.
 */
import { Worker } from 'node:worker_threads';
import type { ProjectFunction, ProjectTable } from '../../codegen/index.js';
import type { ProjectLayout } from '../options.js';
import type { Bundle } from './bundle.js';
import type { ProjectFiles } from './files.js';
import { type CodeMistake, CodeProblem } from './problem.js';
import { mistakeIn } from './source-location.js';

/** What a bundle holds, as plain data. */
export interface InspectedCode {
  readonly schemaExport: 'default' | 'schema';
  readonly tables: readonly ProjectTable[];
  readonly functions: readonly ProjectFunction[];
  readonly hasContext: boolean;
  readonly configuresServer: boolean;
}

export type Inspect = (bundle: Bundle, files: ProjectFiles, layout: ProjectLayout) => Promise<InspectedCode>;

/** What the thread is started with. */
export interface InspectionTask {
  readonly bundle: Bundle;
  readonly files: ProjectFiles;
  readonly layout: ProjectLayout;
}

/** How it ended. */
export type Inspection =
  | { readonly code: InspectedCode }
  | { readonly mistakes: readonly CodeMistake[] }
  | { readonly message: string; readonly stack: string | undefined };

/** How long loading the user's modules may take. */
const LOADING_MS = 10_000;

/** Throws a CodeProblem for what goes wrong while the user's modules are evaluated. */
export async function inspectOnThread(
  bundle: Bundle,
  files: ProjectFiles,
  layout: ProjectLayout,
): Promise<InspectedCode> {
  const thread = new Worker(new URL('./inspect-thread.js', import.meta.url), {
    workerData: { bundle, files, layout } satisfies InspectionTask,
    stdout: true,
    stderr: true,
  });
  const printed: string[] = [];
  for (const stream of [thread.stdout, thread.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => printed.push(text));
  }
  let timer: NodeJS.Timeout | undefined;
  try {
    return codeIn(
      await new Promise<Inspection>((resolve, reject) => {
        const fail = (text: string, cause?: unknown) =>
          reject(
            new CodeProblem([cause ? mistakeIn(cause, bundle, layout.root) : { text, location: null }], { cause }),
          );
        thread.once('message', resolve);
        thread.once('error', (error) => fail(String(error), error));
        thread.once('exit', (code) =>
          fail(`Loading the code ended its thread with ${code}: does it call process.exit?`),
        );
        timer = setTimeout(() => fail(TOO_LONG), LOADING_MS);
      }),
    );
  } catch (error) {
    // Else it is printed where the code runs.
    process.stderr.write(printed.join(''));
    throw error;
  } finally {
    clearTimeout(timer);
    await thread.terminate();
  }
}

const TOO_LONG =
  `The code has not been loaded after ${LOADING_MS / 1_000} seconds. Outside of functions there is a loop without end, ` +
  'or an await that does not come back.';

function codeIn(inspection: Inspection): InspectedCode {
  if ('code' in inspection) return inspection.code;
  if ('mistakes' in inspection) throw new CodeProblem(inspection.mistakes);
  const { message, stack } = inspection;
  throw Object.assign(new Error(message), { stack: stack ?? message });
}
