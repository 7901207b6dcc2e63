/** Evaluates a bundle on the current thread, and describes its contents. The entry of a thread's task; never rejects. */
import { describeCode } from './describe.js';
import type { Inspection, InspectionTask } from './inspect.js';
import { loadBundle } from './load.js';
import { CodeProblem } from './problem.js';

export default async function inspect({ bundle, files, layout }: InspectionTask): Promise<Inspection> {
  try {
    return { code: describeCode(await loadBundle(bundle, files, layout)) };
  } catch (error) {
    if (error instanceof CodeProblem) return { diagnostics: error.diagnostics };
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    return { message, stack };
  }
}
