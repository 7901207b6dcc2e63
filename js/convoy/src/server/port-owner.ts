/** The error message about a port that cannot be used, which names the program that listens on it. */
import { execFile } from 'node:child_process';
import { readdir, readFile, readlink } from 'node:fs/promises';
import path from 'node:path';
import { ConvoyError, isConvoyError } from '../values/errors.js';

/** The message about a port that another program uses. `choice` is how to choose another one. */
export async function portInUse(port: number, choice: string): Promise<string> {
  const owner = await findPortOwner(port);
  if (owner === null) {
    return `Port ${port} is in use by a program that this user cannot see. Find it: sudo lsof -i :${port}. Or ${choice}.`;
  }
  return `Port ${port} is in use by ${owner.program} (pid ${owner.pid}). Stop it: kill ${owner.pid}. Or ${choice}.`;
}

/** The error of listening on a port, which names the program that uses the port. */
export async function explainListen(error: unknown, port: number): Promise<unknown> {
  if (!isConvoyError(error)) return error;
  const { details } = error;
  if ((details as { readonly inUse?: unknown } | null)?.inUse !== true) return error;
  return new ConvoyError(error.code, await portInUse(port, 'listen on another port'), { details, cause: error });
}

/** The process that listens on the port; null when it cannot be found, for example another user's process. */
export async function findPortOwner(port: number): Promise<{ pid: number; program: string } | null> {
  return process.platform === 'linux' ? fromProc(port) : fromLsof(port);
}

async function fromProc(port: number): Promise<{ pid: number; program: string } | null> {
  const tables = await Promise.all(['/proc/net/tcp', '/proc/net/tcp6'].map(textOf));
  const sockets = new Set(tables.flatMap((table) => listeningSockets(table, port)).map((inode) => `socket:[${inode}]`));
  if (sockets.size === 0) return null;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    for (const descriptor of await namesIn(`/proc/${pid}/fd`)) {
      if (!sockets.has(await targetOf(`/proc/${pid}/fd/${descriptor}`))) continue;
      return { pid: Number(pid), program: await programOf(pid) };
    }
  }
  return null;
}

/** The name of the file that a process runs. Its `comm` is that of its first thread: `MainThread` for Node 24. */
async function programOf(pid: string): Promise<string> {
  const file = (await targetOf(`/proc/${pid}/exe`)).replace(/ \(deleted\)$/, '');
  return path.basename(file) || (await textOf(`/proc/${pid}/comm`)).trim() || 'unknown';
}

/** Inodes of sockets that listen on the port, from the text of /proc/net/tcp. */
export function listeningSockets(table: string, port: number): string[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return table.split('\n').flatMap((line) => {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    return local?.endsWith(suffix) && state === '0A' && inode ? [inode] : [];
  });
}

// Processes come and go, and some may not be inspected; unreadable entries count as empty.
const textOf = (file: string) => readFile(file, 'utf8').catch(() => '');
const namesIn = (folder: string) => readdir(folder).catch(() => []);
const targetOf = (link: string) => readlink(link).catch(() => '');

async function fromLsof(port: number): Promise<{ pid: number; program: string } | null> {
  const output = await new Promise<string>((resolve) => {
    execFile('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-Fpc'], (_error, stdout) => resolve(stdout));
  });
  const pid = /^p(\d+)$/m.exec(output)?.[1];
  const program = /^c(.+)$/m.exec(output)?.[1];
  return pid && program ? { pid: Number(pid), program } : null;
}
