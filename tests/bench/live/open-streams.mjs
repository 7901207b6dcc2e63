// Keeps streams open with a separate generator during a measurement.
import { runLoad } from '../load.mjs';

export class OpenStreams {
  #release;
  #ended;

  /**
   * Opens the streams; resolves when every query has returned its first result.
   *
   * @param {string} generator
   * @param {ServerProcess} server
   * @param {{ path: string, body?: string, queries?: number }[]} streams
   * @param {{ copies?: number, atOnce?: number }} [how]
   */
  static async open(generator, server, streams, { copies = 1, atOnce = 64 } = {}) {
    const opened = new OpenStreams();
    const released = new Promise((resolve) => {
      opened.#release = resolve;
    });
    await new Promise((resolve, reject) => {
      const plan = { address: server.address, streams, copies, atOnce };
      opened.#ended = runLoad(generator, { hold: plan }, () => {
        resolve(undefined);
        return released;
      });
      // Before the start, an error rejects `open`; later, it rejects `end`.
      opened.#ended.catch(reject);
    });
    return opened;
  }

  /**
   * Closes the streams after the expected number of events; resolves to the number of events
   * after the first results.
   *
   * @returns {Promise<{ streams: number, events: number }>}
   */
  end({ expected = 0 } = {}) {
    this.#release(String(expected));
    return this.#ended;
  }

  /** Closes the streams of a run that failed. */
  async stop() {
    await this.end().catch(() => undefined);
  }
}
