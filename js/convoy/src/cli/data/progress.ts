/** Shows the progress of long work on documents: on a terminal several times a second, in a log every few seconds. */
import type { DatabaseTools, ProgressStep } from '../../server/database-tools.js';
import type { Step } from '../terminal.js';

const TERMINAL_MS = 200;
const LOG_MS = 5_000;

/** Shows the progress of the tools in `step` while `work` runs. */
export async function withProgress<T>(
  step: Step,
  tools: Pick<DatabaseTools, 'progress'>,
  work: () => Promise<T>,
): Promise<T> {
  let shown = '';
  const show = () => {
    const text = describeProgress(tools.progress);
    if (text !== shown && text !== '') step.now(text);
    shown = text;
  };
  const timer = setInterval(show, process.stderr.isTTY ? TERMINAL_MS : LOG_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

/** `Exporting messages: 120,000 of about 1,000,000 documents (12 %)`. */
export function describeProgress({ action, table, documents, total }: ProgressStep): string {
  if (action === '') return '';
  const verb = action.charAt(0).toUpperCase() + action.slice(1);
  if (table === '') return verb;
  const number = (value: number) => value.toLocaleString('en-US');
  if (total === null || total === 0 || documents > total) return `${verb} ${table}: ${number(documents)} documents`;
  const percent = Math.floor((100 * documents) / total);
  return `${verb} ${table}: ${number(documents)} of about ${number(total)} documents (${percent} %)`;
}
