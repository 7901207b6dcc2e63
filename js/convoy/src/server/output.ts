/**
 * Redirects printed output to the engine's log writer, which never blocks a thread on a slow reader and ignores a full
 * disk or a closed pipe. Output to a terminal is not redirected.
 */

import type { Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { isMainThread } from 'node:worker_threads';
import type { NativeModule } from './native.js';
import { runningFunction } from './running-function.js';

/**
 * Makes `console`, `process.stdout` and `process.stderr` of this thread print through the engine. Only for our own threads.
 * With `terminals`, also where they are a terminal: the log may have another form than the text.
 */
export function redirectOutput(native: Pick<NativeModule, 'writeLog'>, { terminals = false } = {}): void {
  for (const [name, fd] of [
    ['stdout', 1],
    ['stderr', 2],
  ] as const) {
    const stream = process[name];
    // A closed terminal must not end the process by an error: closing it also sends a signal.
    stream.on('error', () => {});
    if (isMainThread && stream.isTTY && !terminals) continue;
    // The stream objects stay: code loaded earlier (`--import`) may hold them, `console` keeps the ones it printed to
    // first, and Node uses private members of a worker's streams.
    redirect(stream, (text) => native.writeLog(fd, text, runningFunction()));
  }
}

function redirect(stream: Writable, write: (text: string) => void): void {
  // A chunk may end within a character.
  const decoder = new StringDecoder('utf8');
  stream._write = (chunk: string | Buffer, _encoding, done) => {
    write(typeof chunk === 'string' ? chunk : decoder.write(chunk));
    done();
  };
  Object.defineProperty(stream, '_writev', { value: null, configurable: true, writable: true });
}
