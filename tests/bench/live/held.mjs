// Streams held open by a generator of their own while something is measured.
import { runLoad } from '../load.mjs';

export class Held {
  #letGo;
  #ended;

  /**
   * Waits until every query is answered once.
   *
   * @param {string} generator
   * @param {ServerProcess} server
   * @param {{ path: string, body?: string, queries?: number }[]} streams
   * @param {{ copies?: number, atOnce?: number }} [how]
   */
  static async open(generator, server, streams, { copies = 1, atOnce = 64 } = {}) {
    const held = new Held();
    const letGo = new Promise((resolve) => {
      held.#letGo = resolve;
    });
    await new Promise((resolve, reject) => {
      const plan = { address: server.address, streams, copies, atOnce };
      held.#ended = runLoad(generator, { hold: plan }, () => {
        resolve(undefined);
        return letGo;
      });
      // Whoever lets go hears of it.
      held.#ended.catch(reject);
    });
    return held;
  }

  /**
   * How many events have come after the first answers; waits for as many as are expected.
   *
   * @returns {Promise<{ streams: number, events: number }>}
   */
  end({ expected = 0 } = {}) {
    this.#letGo(String(expected));
    return this.#ended;
  }

  /** For a run that failed before its end. */
  async stop() {
    await this.end().catch(() => undefined);
  }
}
