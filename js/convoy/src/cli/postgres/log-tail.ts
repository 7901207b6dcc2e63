/** Follows Postgres' log: reads the lines appended since the last read, without keeping the file open. */
import { closeSync, fchownSync, openSync, renameSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { isErrno } from '../errno.js';
import type { SystemUser } from './data-location.js';

const MAX_LOG_BYTES = 4 * 1024 * 1024;

/** Opens the log for a start of Postgres and rotates a large one to `postgres.log.1`. Returns a file descriptor. */
export function openLog(file: string, owner: SystemUser | null): number {
  if (sizeOf(file) > MAX_LOG_BYTES) renameSync(file, `${file}.1`);
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

  /** The lines appended since the last read. */
  async read(): Promise<string[]> {
    const length = sizeOf(this.#file) - this.#offset;
    if (length <= 0) return [];
    const handle = await open(this.#file, 'r');
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, this.#offset);
      const text = buffer.toString('utf8', 0, bytesRead);
      const complete = text.slice(0, text.lastIndexOf('\n') + 1);
      this.#offset += Buffer.byteLength(complete);
      const lines = complete.split('\n').slice(0, -1);
      this.#lines.push(...lines);
      this.#lines.splice(0, this.#lines.length - 200);
      return lines;
    } finally {
      await handle.close();
    }
  }

  /** The latest lines that were read, at most 200. */
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
