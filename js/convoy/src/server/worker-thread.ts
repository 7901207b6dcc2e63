/**
 * What runs in a worker: imports one program, and runs its functions for the engine of its process until it ends. Calls
 * come from the engine directly. What is printed goes to the engine, which never makes anyone wait for that.
 */

import { parentPort, threadId, workerData } from 'node:worker_threads';
import { Host } from './host.js';
import { loadNative } from './native.js';
import { redirectOutput } from './output.js';
import { describeProgram, type Program, prepareProgram } from './program.js';
import { importProgram } from './program-module.js';
import { QueryWatch } from './query-watch.js';
import { runningFunction } from './running-function.js';
import type { FromWorker, ToWorker, WorkerSettings } from './worker-messages.js';

const { engine, number, address, sync, dev, resultBytes } = workerData as WorkerSettings;
const addon = loadNative();
redirectOutput(addon);
// Stacks name the user's own files.
if (dev) process.setSourceMapsEnabled(true);
const native = addon.attach(engine, threadId);
const watch = dev ? new QueryWatch() : null;
let program: Program | null = null;

const tell = (message: FromWorker): void => parentPort?.postMessage(message);

process.on('uncaughtExceptionMonitor', (_error, origin) => {
  const fn = runningFunction();
  if (fn !== undefined) tell({ type: 'failing', fn, origin });
});
process.on('unhandledRejection', (reason) => {
  // The program has its own idea of what to do about it.
  if (process.listenerCount('unhandledRejection') > 1) return;
  const fn = runningFunction();
  if (fn !== undefined) tell({ type: 'failing', fn, origin: 'unhandledRejection' });
  throw reason;
});

parentPort?.on('message', ({ holdsInserts }: ToWorker) => {
  if (program !== null) program.holdsInserts = new Set(holdsInserts);
});

try {
  const source = await importProgram(address);
  program = prepareProgram(source, { dev, watch, resultBytes });
  const description = describeProgram(source, { sync });
  native.join(number, new Host(native).deliverFor(program));
  tell({ type: 'joined', description });
} catch (error) {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  tell({ type: 'failed', message, stack });
}
