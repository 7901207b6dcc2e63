/** The worker thread of `inspect.ts`: evaluates a bundle and posts a description of its contents. */
import { parentPort } from 'node:worker_threads';
import { describeCode } from './describe.js';
import type { Inspection, InspectionTask, ToInspectionThread } from './inspect.js';
import { loadBundle } from './load.js';
import { CodeProblem } from './problem.js';

process.setSourceMapsEnabled(true);

let preloading: Promise<unknown> = Promise.resolve();
parentPort?.on('message', async function receive(message: ToInspectionThread) {
  if ('preload' in message) {
    // A package that is missing is reported when the code imports it.
    preloading = import(message.preload).catch(() => {});
    return;
  }
  // From here on, only the user's code keeps the thread running.
  parentPort?.off('message', receive);
  await preloading;
  parentPort?.postMessage(await inspect(message));
});

async function inspect({ bundle, files, layout }: InspectionTask): Promise<Inspection> {
  try {
    return { code: describeCode(await loadBundle(bundle, files, layout)) };
  } catch (error) {
    if (error instanceof CodeProblem) return { diagnostics: error.diagnostics };
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    return { message, stack };
  }
}
