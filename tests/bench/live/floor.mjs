// Runs the floor as a separate process, so that its processor time can be measured like Convoy's.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { processorTime } from '../processor-time.mjs';

export class FloorProcess {
  #child;

  /** `127.0.0.1:port` */
  address = '';

  /**
   * @param {string} generator
   * @param {string[]} frame the parts of a frame around the texts of the last writes
   */
  static async start(generator, frame) {
    const floor = new FloorProcess();
    floor.#child = spawn(generator, { stdio: ['pipe', 'pipe', 'inherit'] });
    floor.#child.stdin.write(`${JSON.stringify({ floor: { frame } })}\n`);
    const exited = once(floor.#child, 'exit').then(([code]) => {
      throw new Error(`The floor ended with exit code ${code} while starting.`);
    });
    const [line] = await Promise.race([once(createInterface({ input: floor.#child.stdout }), 'line'), exited]);
    // After the start, an unexpected exit shows as failing requests.
    exited.catch(() => undefined);
    floor.address = `127.0.0.1:${JSON.parse(line).port}`;
    return floor;
  }

  cpu() {
    return processorTime(this.#child.pid);
  }

  /** The floor runs no functions. */
  stats() {
    return {};
  }

  /** Closes its input, which ends the process. The same happens when the parent ends. */
  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.stdin.end();
    await exited;
  }
}
