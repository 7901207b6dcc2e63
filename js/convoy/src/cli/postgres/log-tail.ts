/** Reads what Postgres has appended to its log since a moment, without keeping the file open. */
import { closeSync, fchownSync, openSync, renameSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { isErrno } from '../errno.js';
import type { SystemUser } from './data-location.js';

const largest = 4 * 1024 * 1024;

/** Opens the log for a start of Postgres; a long one is put aside as `postgres.log.1`. Returns a file descriptor. */
export function openLog(file: string, owner: SystemUser | null): number {
  if (sizeOf(file) > largest) renameSync(file, `${file}.1`);
  const descriptor = openSync(file, 'a', 0o600);
  if (owner) fchownSync(descriptor, owner.uid, owner.gid);
  return descriptor;
}

export { closeSync as closeLog };

export class LogTail {
  readonly #file: string;
  #offset: number;
  readonly #lines: string[] = [];

  /** Begins at the end of the file as it is now. */
  constructor(file: string) {
    this.#file = file;
    this.#offset = sizeOf(file);
  }

  /** The lines added since the last reading. */
  async read(): Promise<string[]> {
    const length = sizeOf(this.#file) - this.#offset;
    if (length <= 0) return [];
    const handle = await open(this.#file, 'r');
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, this.#offset);
      const text = buffer.toString('utf8', 0, bytesRead);
      const whole = text.slice(0, text.lastIndexOf('\n') + 1);
      this.#offset += Buffer.byteLength(whole);
      const lines = whole.split('\n').slice(0, -1);
      this.#lines.push(...lines);
      this.#lines.splice(0, this.#lines.length - 200);
      return lines;
    } finally {
      await handle.close();
    }
  }

  /** The newest lines read so far, at most 200. */
  get recent(): readonly string[] {
    return this.#lines;
  }
}

function sizeOf(file: string): number {
  try {
    return statSync(file).size;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return 0;
    throw error;
  }
}
