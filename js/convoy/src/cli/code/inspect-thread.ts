/** The worker thread of `inspect.ts`: evaluates a bundle and posts a description of its contents. */
import { parentPort, workerData } from 'node:worker_threads';
import { describeCode } from './describe.js';
import type { Inspection, InspectionTask } from './inspect.js';
import { loadBundle } from './load.js';
import { CodeProblem } from './problem.js';

process.setSourceMapsEnabled(true);
parentPort?.postMessage(await inspect(workerData as InspectionTask));

async function inspect({ bundle, files, layout }: InspectionTask): Promise<Inspection> {
  try {
    return { code: describeCode(await loadBundle(bundle, files, layout)) };
  } catch (error) {
    if (error instanceof CodeProblem) return { diagnostics: error.diagnostics };
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    return { message, stack };
  }
}
