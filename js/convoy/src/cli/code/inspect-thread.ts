/** The worker thread of `inspect.ts`. */
import { parentPort, workerData } from 'node:worker_threads';
import type { InspectionTask } from './inspect.js';
import inspect from './inspect-here.js';

process.setSourceMapsEnabled(true);
parentPort?.postMessage(await inspect(workerData as InspectionTask));
