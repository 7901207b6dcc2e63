// The floor as a process of its own, so that its processor time is known as ours is.
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
   * @param {string[]} frame what stands before, between and after the texts of the last writes
   */
  static async start(generator, frame) {
    const floor = new FloorProcess();
    floor.#child = spawn(generator, { stdio: ['pipe', 'pipe', 'inherit'] });
    floor.#child.stdin.write(`${JSON.stringify({ floor: { frame } })}\n`);
    const exited = once(floor.#child, 'exit').then(([code]) => {
      throw new Error(`The floor ended with exit code ${code} while starting.`);
    });
    const [line] = await Promise.race([once(createInterface({ input: floor.#child.stdout }), 'line'), exited]);
    // From here on an early end shows as failing requests.
    exited.catch(() => undefined);
    floor.address = `127.0.0.1:${JSON.parse(line).port}`;
    return floor;
  }

  cpu() {
    return processorTime(this.#child.pid);
  }

  /** It runs no functions. */
  stats() {
    return {};
  }

  /** It ends when its input does, as it does with its parent. */
  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.stdin.end();
    await exited;
  }
}
