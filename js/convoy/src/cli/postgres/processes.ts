/** Inspects other processes, to identify them before they are signalled. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { isErrno } from '../errno.js';

export interface ProcessInfo {
  /** The pid of the parent. */
  readonly parent: number;
  /** The command line, split at spaces where the system returns it as one string. */
  readonly command: readonly string[];
}

/** Whether the process exists, also under another user. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isErrno(error, 'EPERM');
  }
}

/** Parent and command line of a process; null when it does not exist or may not be inspected. */
export async function inspectProcess(pid: number): Promise<ProcessInfo | null> {
  return process.platform === 'linux' ? fromProc(pid) : fromPs(pid);
}

async function fromProc(pid: number): Promise<ProcessInfo | null> {
  try {
    const [command, stat] = await Promise.all([
      readFile(`/proc/${pid}/cmdline`, 'utf8'),
      readFile(`/proc/${pid}/stat`, 'utf8'),
    ]);
    // `pid (name) state parent …`, where the name may contain spaces and parentheses.
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z') return null;
    return { parent: Number(parent), command: command.split('\0').slice(0, -1) };
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return null;
    throw error;
  }
}

async function fromPs(pid: number): Promise<ProcessInfo | null> {
  const line = await new Promise<string>((resolve) => {
    // For an unknown pid, `ps` fails and prints no line.
    execFile('ps', ['-ww', '-o', 'ppid=,command=', '-p', String(pid)], (_error, stdout) => resolve(stdout.trim()));
  });
  const match = /^(\d+)\s+(.*)$/s.exec(line);
  return match?.[1] && match[2] ? { parent: Number(match[1]), command: match[2].split(' ') } : null;
}
