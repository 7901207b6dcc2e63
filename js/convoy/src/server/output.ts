/**
 * Where what is printed goes: to the engine's writer, which never makes a thread wait for whoever should read it, and
 * for which a full disk or a closed pipe is no error. A terminal is left as it is.
 */

import type { Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { isMainThread } from 'node:worker_threads';
import type { NativeModule } from './native.js';

/** Has `console` and `process.stdout` and `stderr` of this thread print through the engine. For threads that are ours. */
export function printBy(native: Pick<NativeModule, 'writeLog'>): void {
  for (const [name, fd] of [
    ['stdout', 1],
    ['stderr', 2],
  ] as const) {
    const stream = process[name];
    // A terminal that is closed is no reason to end: who closes it sends a signal, too.
    stream.on('error', () => {});
    if (isMainThread && stream.isTTY) continue;
    // The streams stay what they are, because code that was loaded before, such as that of `--import`, may hold them,
    // `console` keeps those it printed to first, and Node calls those of a worker by what only they have.
    redirect(stream, (text) => native.writeLog(fd, text));
  }
}

function redirect(stream: Writable, write: (text: string) => void): void {
  // A character may be cut in two by a chunk's end.
  const decoder = new StringDecoder('utf8');
  stream._write = (chunk: string | Buffer, _encoding, done) => {
    write(typeof chunk === 'string' ? chunk : decoder.write(chunk));
    done();
  };
  Object.defineProperty(stream, '_writev', { value: null, configurable: true, writable: true });
}
