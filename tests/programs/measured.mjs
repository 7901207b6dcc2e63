/** Imported before a server (`--import`): sends the main thread's heap after a collection, on any message over IPC. */
import { isMainThread } from 'node:worker_threads';

if (isMainThread) {
  process.on('message', () => {
    globalThis.gc();
    process.send({ heap: process.memoryUsage().heapUsed });
  });
  process.channel?.unref();
}
