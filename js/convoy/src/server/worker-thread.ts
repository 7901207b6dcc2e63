/**
 * What runs in a worker: imports programs when it is told to, and runs their functions for the engine of its process.
 * Calls come from the engine directly. A program is forgotten when the engine has let go of it.
 */

import { parentPort, threadId, workerData } from 'node:worker_threads';
import { Host } from './host.js';
import { loadNative } from './native.js';
import { describeProgram, type Program, prepareProgram } from './program.js';
import { importProgram } from './program-module.js';
import { QueryWatch } from './query-watch.js';
import type { FromWorker, ToWorker, WorkerSettings } from './worker-messages.js';

const { engine, sync, dev } = workerData as WorkerSettings;
const native = loadNative().attach(engine, threadId);
const host = new Host(native);
const watch = dev ? new QueryWatch() : null;
/** The newest program, and the one before while that is being replaced. */
const programs = new Map<number, Program>();

const tell = (message: FromWorker): void => parentPort?.postMessage(message);

parentPort?.on('message', (message: ToWorker) => {
  if (message.type === 'load') void load(message.number, message.address);
  else loaded(message.number, message.holdsInserts);
});

async function load(number: number, address: string): Promise<void> {
  try {
    const source = await importProgram(address);
    const program = prepareProgram(source, { dev, watch });
    const description = describeProgram(source, { sync });
    programs.set(number, program);
    native.join(number, host.deliverFor(program));
    tell({ type: 'joined', number, description });
  } catch (error) {
    programs.delete(number);
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    tell({ type: 'failed', number, message, stack });
  }
}

function loaded(number: number, holdsInserts: readonly string[]): void {
  const program = programs.get(number);
  if (program !== undefined) program.holdsInserts = new Set(holdsInserts);
  for (const each of programs.keys()) if (each < number) programs.delete(each);
  watch?.renew();
}
