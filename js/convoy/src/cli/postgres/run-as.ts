/** Runs Postgres programs as the user that the placement chose, with a minimal environment. */
import { type SpawnOptions, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { isErrno } from '../errno.js';
import type { SystemUser } from './data-location.js';

/** The spawn options: no PG* and LD_* variables of the developer's shell, and English messages, which are parsed. */
export function spawnOptionsFor(runAs: SystemUser | null): SpawnOptions {
  return {
    // The other user may not be able to enter the current folder.
    cwd: '/',
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
    ...(runAs ? { uid: runAs.uid, gid: runAs.gid } : {}),
  };
}

/** Resolves to the output of the program; rejects with the output in the message when it fails. */
export async function runProgram(program: string, args: readonly string[], as: SystemUser | null, input = '') {
  const child = spawn(program, args, { ...spawnOptionsFor(as), stdio: 'pipe' });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
  }
  // A program that fails before it reads its input breaks the pipe; its exit code reports the failure.
  child.stdin?.on('error', () => undefined).end(input);
  return new Promise<string>((resolve, reject) => {
    child.once('error', (error) => reject(new Error(spawnErrorMessage(program, error), { cause: error })));
    child.once('close', (code, signal) => {
      if (code === 0) resolve(output);
      else reject(new Error(`${program} failed (${code ?? signal}):\n${output.trim()}`));
    });
  });
}

function spawnErrorMessage(program: string, error: Error): string {
  // The error is also ENOENT when the file exists but its dynamic loader does not, as on Alpine Linux.
  if (isErrno(error, 'ENOENT') && existsSync(program)) return `${program} needs a system with glibc`;
  return `${program} could not be run: ${error.message}`;
}
