/**
 * Imported before a server (`--import`): over IPC, a test terminates one of the server's worker threads (`terminate`, with
 * a number by which it is chosen), exits the process (`exit`), or aborts it (`abort`).
 */
import { syncBuiltinESMExports } from 'node:module';
import threads from 'node:worker_threads';

if (threads.isMainThread) {
  const workers = new Set();
  threads.Worker = class extends threads.Worker {
    constructor(...args) {
      super(...args);
      workers.add(this);
      this.once('exit', () => workers.delete(this));
    }
  };
  syncBuiltinESMExports();
  process.on('message', ({ act, number }) => {
    if (act === 'exit') process.exit(7);
    if (act === 'abort') process.abort();
    const all = [...workers];
    void all[number % all.length]?.terminate();
  });
  process.channel?.unref();
}
