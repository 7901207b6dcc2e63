/**
 * The entry of a worker thread: waits for one program, imports it, and runs its functions for the engine of this process.
 * Calls come from the engine directly. Output is printed through the engine, which never blocks the thread.
 */

import { parentPort, threadId, workerData } from 'node:worker_threads';
import { Host } from './host.js';
import { loadNative } from './native.js';
import { redirectOutput } from './output.js';
import { allowHeldWrites, describeProgram, type Program, prepareProgram } from './program.js';
import { importProgram } from './program-module.js';
import { QueryWatch } from './query-watch.js';
import { runningFunction } from './running-function.js';
import type { FromWorker, ToWorker, WorkerProgram, WorkerSettings } from './worker-messages.js';

const { engine, sync, dev, sourceMaps, resultBytes, onlyLocal } = workerData as WorkerSettings;
const addon = loadNative();
redirectOutput(addon);
// So that stacks contain the names of source files.
if (sourceMaps) process.setSourceMapsEnabled(true);
const native = addon.attach(engine, threadId);
const watch = new QueryWatch(dev ? console.warn : null);
let program: Program | null = null;

const post = (message: FromWorker): void => parentPort?.postMessage(message);

process.on('uncaughtExceptionMonitor', (_error, origin) => {
  const fn = runningFunction();
  if (fn !== undefined) post({ type: 'failing', fn, origin });
});
process.on('unhandledRejection', (reason) => {
  // The program handles rejections itself.
  if (process.listenerCount('unhandledRejection') > 1) return;
  const fn = runningFunction();
  if (fn !== undefined) post({ type: 'failing', fn, origin: 'unhandledRejection' });
  throw reason;
});

parentPort?.on('message', (message: ToWorker) => {
  if (message.type === 'run') void run(message);
  else if (message.type === 'loaded' && program !== null) allowHeldWrites(program, message.holdsWrites);
  else if (message.type === 'preload') void preload(message.address);
  else if (message.type === 'evaluate') void evaluate(message.address, message.argument);
});

async function run({ number, address }: WorkerProgram): Promise<void> {
  try {
    watch.open();
    const source = await importProgram(address);
    program = prepareProgram(source, { dev, watch, resultBytes });
    const description = describeProgram(source, { sync, onlyLocal, dev });
    native.join(number, new Host(native).deliverFor(program));
    post({ type: 'joined', description });
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    post({ type: 'failed', message, stack });
  }
}

async function evaluate(address: string, argument: unknown): Promise<void> {
  const module = (await import(address)) as { readonly default: (argument: unknown) => unknown };
  post({ type: 'evaluated', value: await module.default(argument) });
}

async function preload(address: string): Promise<void> {
  try {
    await import(address);
  } catch {
    // The import of the program fails in the same way, and reports it.
  }
}
