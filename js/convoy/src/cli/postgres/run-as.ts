/** Runs programs of Postgres as the user the placement chose, with an environment that cannot surprise them. */
import { type SpawnOptions, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { isErrno } from '../errno.js';
import type { SystemUser } from './data-location.js';

/** PG* and LD_* variables of the developer's shell must not reach our Postgres, and its messages must be English. */
export function spawnOptionsFor(runAs: SystemUser | null): SpawnOptions {
  return {
    // A folder everyone can enter: the current one may be closed to the other user.
    cwd: '/',
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
    ...(runAs ? { uid: runAs.uid, gid: runAs.gid } : {}),
  };
}

/** Resolves to what the program printed; rejects with that in the message when it fails. */
export async function runProgram(program: string, args: readonly string[], as: SystemUser | null, input = '') {
  const child = spawn(program, args, { ...spawnOptionsFor(as), stdio: 'pipe' });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      printed += chunk;
    });
  }
  // A program that fails before it reads leaves a broken pipe; its exit code tells the story.
  child.stdin?.on('error', () => undefined).end(input);
  return new Promise<string>((resolve, reject) => {
    child.once('error', (error) => reject(new Error(whyNotRun(program, error), { cause: error })));
    child.once('close', (code, signal) => {
      if (code === 0) resolve(printed);
      else reject(new Error(`${program} failed (${code ?? signal}):\n${printed.trim()}`));
    });
  });
}

function whyNotRun(program: string, error: Error): string {
  // The system says so too when the file is there but its dynamic loader is not, as on Alpine Linux.
  if (isErrno(error, 'ENOENT') && existsSync(program)) return `${program} needs a system with glibc`;
  return `${program} could not be run: ${error.message}`;
}
