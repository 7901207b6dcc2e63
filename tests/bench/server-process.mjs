// Starts and controls a server under test.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const CHILD = fileURLToPath(new URL('./servers/child.mjs', import.meta.url));

export class ServerProcess {
  #child;
  #requests = 0;
  #pending = new Map();

  /** `127.0.0.1:port` */
  address = '';

  constructor(child) {
    this.#child = child;
    child.on('message', ({ id, response }) => {
      this.#pending.get(id)?.(response);
      this.#pending.delete(id);
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
    // After the start, an unexpected exit shows as failing requests.
    exited.catch(() => undefined);
    server.address = `127.0.0.1:${port}`;
    return server;
  }

  /** The processor time of the server in microseconds. */
  cpu() {
    return this.#request('cpu');
  }

  /** The resident memory of the server in bytes. */
  memory() {
    return this.#request('memory');
  }

  /** The counters of Convoy's engine. */
  stats() {
    return this.#request('stats');
  }

  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.disconnect();
    // The server waits for open streams.
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    await exited;
    clearTimeout(timer);
  }

  #request(request) {
    const id = ++this.#requests;
    this.#child.send({ id, request });
    return new Promise((resolve) => this.#pending.set(id, resolve));
  }
}
