// A server under test, seen from the benchmark.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const CHILD = fileURLToPath(new URL('./servers/child.mjs', import.meta.url));

export class ServerProcess {
  #child;
  #questions = 0;
  #waiting = new Map();

  /** `127.0.0.1:port` */
  address = '';

  constructor(child) {
    this.#child = child;
    child.on('message', ({ number, answer }) => {
      this.#waiting.get(number)?.(answer);
      this.#waiting.delete(number);
    });
  }

  /**
   * @param {string} name of a contestant
   * @param {string} databaseUrl
   * @param {{ file?: string, env?: Record<string, string>, options?: object }} [other] another commit's copy of
   *   the server, or options of the server
   */
  static async start(name, databaseUrl, { file = CHILD, env = {}, options = {} } = {}) {
    const child = fork(file, [name, JSON.stringify(options)], {
      env: { ...process.env, NODE_ENV: 'production', DATABASE_URL: databaseUrl, ...env },
    });
    const server = new ServerProcess(child);
    const exited = once(child, 'exit').then(([code, signal]) => {
      throw new Error(`The ${name} server ended with ${signal ?? `exit code ${code}`} while starting.`);
    });
    const [{ port }] = await Promise.race([once(child, 'message'), exited]);
    // From here on an early end shows as failing requests.
    exited.catch(() => undefined);
    server.address = `127.0.0.1:${port}`;
    return server;
  }

  /** Processor time it has used, in microseconds. */
  cpu() {
    return this.#ask('cpu');
  }

  /** Its resident memory, in bytes. */
  memory() {
    return this.#ask('memory');
  }

  /** Counters of Convoy's engine. */
  stats() {
    return this.#ask('stats');
  }

  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    // Streams still open would be waited for.
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    await exited;
    clearTimeout(timer);
  }

  #ask(question) {
    const number = ++this.#questions;
    this.#child.send({ number, ask: question });
    return new Promise((resolve) => this.#waiting.set(number, resolve));
  }
}
