/**
 * Where what is printed goes: to the engine's writer, which never makes a thread wait for whoever should read it, and
 * for which a full disk or a closed pipe is no error. A terminal is left as it is.
 */

import { Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { isMainThread } from 'node:worker_threads';
import type { NativeModule } from './native.js';

/** Has `console` and `process.stdout` and `stderr` of this thread print through the engine. For threads that are ours. */
export function printBy(native: Pick<NativeModule, 'writeLog'>): void {
  for (const [name, stream] of [
    ['stdout', 1],
    ['stderr', 2],
  ] as const) {
    if (isMainThread && process[name].isTTY) {
      // A terminal that is closed is no reason to end: who closes it sends a signal, too.
      process[name].on('error', () => {});
      continue;
    }
    Object.defineProperty(process, name, {
      configurable: true,
      enumerable: true,
      value: writerOf(stream, (text) => native.writeLog(stream, text)),
    });
  }
}

function writerOf(fd: 1 | 2, write: (text: string) => void): Writable {
  // A character may be cut in two by a chunk's end.
  const decoder = new StringDecoder('utf8');
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string | Buffer, _encoding, done) {
      write(typeof chunk === 'string' ? chunk : decoder.write(chunk));
      done();
    },
  });
  return Object.assign(stream, { fd, isTTY: false });
}
