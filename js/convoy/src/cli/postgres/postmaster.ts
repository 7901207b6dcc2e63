/**
 * Checks whether a Postgres is running on a data folder, and stops it.
 *
 * A pid in `postmaster.pid` may be stale and belong to another process by now. A process is signalled only if its
 * command line shows that it is Postgres on exactly this folder.
 */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isErrno } from '../errno.js';
import { guardianMark } from './guardian.js';
import { inspectProcess, isAlive, type ProcessInfo } from './processes.js';

/** The parsed `postmaster.pid` that Postgres writes. */
export interface PostmasterFile {
  readonly pid: number;
  readonly port: number;
  /** Null early in the start, before Postgres writes its status. */
  readonly status: 'starting' | 'stopping' | 'ready' | 'standby' | null;
}

export type PostmasterFinding =
  | { readonly kind: 'none' }
  /** The Postgres of this data folder. `guarded`: its guardian is alive. */
  | { readonly kind: 'running'; readonly file: PostmasterFile; readonly guarded: boolean }
  /** The pid in the file belongs to another process now. */
  | { readonly kind: 'stale'; readonly pid: number };

const statuses = ['starting', 'stopping', 'ready', 'standby'] as const;

/** Parses `postmaster.pid`; null for a file that is empty or still being written. */
export function parsePostmasterFile(text: string): PostmasterFile | null {
  const lines = text.split('\n').map((line) => line.trim());
  const pid = Number(lines[0]);
  if (!lines[0] || !Number.isInteger(pid) || pid <= 0) return null;
  return { pid, port: Number(lines[3] ?? 0), status: statuses.find((status) => status === lines[7]) ?? null };
}

export async function readPostmasterFile(data: string): Promise<PostmasterFile | null> {
  try {
    return parsePostmasterFile(await readFile(pidFile(data), 'utf8'));
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null;
    throw error;
  }
}

export async function findPostmaster(data: string): Promise<PostmasterFinding> {
  const file = await readPostmasterFile(data);
  if (file === null || !isAlive(file.pid)) return { kind: 'none' };
  const info = await inspectProcess(file.pid);
  if (!info || !runsPostgresOn(info, data)) {
    return isAlive(file.pid) ? { kind: 'stale', pid: file.pid } : { kind: 'none' };
  }
  const parent = await inspectProcess(info.parent);
  return { kind: 'running', file, guarded: parent?.command.includes(guardianMark) ?? false };
}

/** Whether the command line of a process shows that it is the Postgres of this data folder. */
export function runsPostgresOn(info: ProcessInfo, data: string): boolean {
  // The folder may contain spaces, and some systems return the command line as one string.
  const line = `${info.command.join(' ')} `;
  return path.basename(info.command[0] ?? '') === 'postgres' && line.includes(` -D ${data} `);
}

export async function isPostmaster(pid: number, data: string): Promise<boolean> {
  const info = await inspectProcess(pid);
  return info !== null && runsPostgresOn(info, data);
}

/**
 * Stops the Postgres of this data folder: fast shutdown, after ten seconds immediate shutdown. Resolves when it has
 * ended.
 */
export async function stopPostmaster(pid: number, data: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (let signal: 'SIGINT' | 'SIGQUIT' | null = 'SIGINT'; await isPostmaster(pid, data); await sleep(20)) {
    if (signal) process.kill(pid, signal);
    signal = Date.now() > deadline ? 'SIGQUIT' : null;
  }
}

/** Resolves when the process is no longer this Postgres. */
export async function postmasterGone(pid: number, data: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && (await isPostmaster(pid, data))) {
    await sleep(200, undefined, { signal }).catch(() => undefined);
  }
}

/**
 * Replaces the pid in a pid file when it belongs to another process now, since Postgres would refuse to start. The file
 * stays, with a pid that cannot exist: from its other lines, Postgres detects backends of a killed postmaster that
 * still use the shared memory.
 */
export async function disownPidFile(data: string, stalePid: number): Promise<void> {
  const text = await readFile(pidFile(data), 'utf8');
  const lines = text.split('\n');
  if (Number(lines[0]) !== stalePid) return;
  lines[0] = String(2 ** 31 - 2);
  await writeFile(pidFile(data), lines.join('\n'));
}

function pidFile(data: string): string {
  return path.join(data, 'postmaster.pid');
}
