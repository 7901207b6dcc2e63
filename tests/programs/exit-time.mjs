/** Imported before a program: prints when its process exits, in milliseconds since 1970. */
import { writeSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

if (isMainThread) process.on('exit', () => writeSync(2, `exits at ${Date.now()}\n`));
