/**
 * Finds out whether a Postgres is running on a data folder, and stops it.
 *
 * A pid in `postmaster.pid` may be stale, and by now belong to anything. Nothing is signalled unless the process'
 * own command line says that it is Postgres on exactly this folder.
 */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isErrno } from '../errno.js';
import { guardianMark } from './guardian.js';
import { isAlive, lookAtProcess, type ProcessFacts } from './processes.js';

/** What Postgres writes about itself in `postmaster.pid`. */
export interface PostmasterFile {
  readonly pid: number;
  readonly port: number;
  /** Null while it starts so early that it has not said. */
  readonly status: 'starting' | 'stopping' | 'ready' | 'standby' | null;
}

export type PostmasterFinding =
  | { readonly kind: 'none' }
  /** Provably ours. `guarded`: a living guardian looks after it. */
  | { readonly kind: 'running'; readonly file: PostmasterFile; readonly guarded: boolean }
  /** The pid in the file belongs to some other process now. */
  | { readonly kind: 'stale'; readonly pid: number };

const statuses = ['starting', 'stopping', 'ready', 'standby'] as const;

/** Null for a file that is empty or still being written. */
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
  const facts = await lookAtProcess(file.pid);
  if (!facts || !runsPostgresOn(facts, data)) {
    return isAlive(file.pid) ? { kind: 'stale', pid: file.pid } : { kind: 'none' };
  }
  const parent = await lookAtProcess(facts.parent);
  return { kind: 'running', file, guarded: parent?.command.includes(guardianMark) ?? false };
}

/** True when a process' own command line says that it is the Postgres of this data folder. */
export function runsPostgresOn(facts: ProcessFacts, data: string): boolean {
  // The folder may hold blanks, and some systems give the command line as one text.
  const line = `${facts.command.join(' ')} `;
  return path.basename(facts.command[0] ?? '') === 'postgres' && line.includes(` -D ${data} `);
}

export async function isPostmaster(pid: number, data: string): Promise<boolean> {
  const facts = await lookAtProcess(pid);
  return facts !== null && runsPostgresOn(facts, data);
}

/** Stops a Postgres that is provably ours: fast, after ten seconds immediately. Resolves when it is gone. */
export async function stopPostmaster(pid: number, data: string): Promise<void> {
  const patience = Date.now() + 10_000;
  for (let signal: 'SIGINT' | 'SIGQUIT' | null = 'SIGINT'; await isPostmaster(pid, data); await sleep(20)) {
    if (signal) process.kill(pid, signal);
    signal = Date.now() > patience ? 'SIGQUIT' : null;
  }
}

/** Resolves when the process is no longer this Postgres. */
export async function postmasterGone(pid: number, data: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && (await isPostmaster(pid, data))) {
    await sleep(200, undefined, { signal }).catch(() => undefined);
  }
}

/**
 * Lets Postgres start over a pid file whose pid now belongs to another process, where it would refuse.
 * The file stays, with a pid that cannot exist: its other lines let Postgres see whether backends of a killed
 * postmaster still use the shared memory, and removing it would take that protection away.
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
