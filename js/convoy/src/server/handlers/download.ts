/** Writes a stream of an exchange to a stream of Node, at the pace of its reader. */

import type { Writable } from 'node:stream';
import type { Exchange } from './exchange.js';

/**
 * Writes all chunks, and ends `target`; if the stream fails half-way, `target` is destroyed instead. A client that stops
 * reading loses its connection. `flush` follows each chunk.
 */
export async function download(exchange: Exchange, target: Writable, flush: () => void = () => {}): Promise<void> {
  try {
    for await (const chunk of exchange.chunks(() => target.destroy())) {
      const hasRoom = target.write(chunk);
      flush();
      if (!hasRoom) await drained(target);
      if (target.destroyed) return;
    }
    target.end();
  } catch {
    // The engine has logged why.
    target.destroy();
  }
}

/** Resolves when `target` can take more, or has closed. */
function drained(target: Writable): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      target.off('drain', settle);
      target.off('close', settle);
      resolve();
    };
    target.on('drain', settle);
    target.on('close', settle);
    if (target.destroyed) settle();
  });
}
