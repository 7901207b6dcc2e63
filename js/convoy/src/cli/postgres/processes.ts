/** Looks at other processes, to prove what they are before anything is signalled. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { isErrno } from '../errno.js';

export interface ProcessFacts {
  /** The pid of the parent. */
  readonly parent: number;
  /** The command line. Where the system gives it only as one text, the words of that text. */
  readonly command: readonly string[];
}

/** True also for processes of other users. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isErrno(error, 'EPERM');
  }
}

/** Null when there is no such process, or we may not look at it. */
export async function lookAtProcess(pid: number): Promise<ProcessFacts | null> {
  return process.platform === 'linux' ? fromProc(pid) : fromPs(pid);
}

async function fromProc(pid: number): Promise<ProcessFacts | null> {
  try {
    const [command, stat] = await Promise.all([
      readFile(`/proc/${pid}/cmdline`, 'utf8'),
      readFile(`/proc/${pid}/stat`, 'utf8'),
    ]);
    // `pid (name) state parent …`, where the name may hold blanks and brackets.
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z') return null;
    return { parent: Number(parent), command: command.split('\0').slice(0, -1) };
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return null;
    throw error;
  }
}

async function fromPs(pid: number): Promise<ProcessFacts | null> {
  const line = await new Promise<string>((resolve) => {
    // `ps` answers an unknown pid with an error and no line; both mean that there is nothing to see.
    execFile('ps', ['-ww', '-o', 'ppid=,command=', '-p', String(pid)], (_error, stdout) => resolve(stdout.trim()));
  });
  const match = /^(\d+)\s+(.*)$/s.exec(line);
  return match?.[1] && match[2] ? { parent: Number(match[1]), command: match[2].split(' ') } : null;
}
