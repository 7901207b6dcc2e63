// Programs that tests need and npm does not have: where they are, and Debian's
// package of one where it may be installed.
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { run } from './run.mjs';

/** The first of these that can be run: by name in the folders of PATH and in `elsewhere`, or by path. */
export async function findProgram(names, { elsewhere = [], paths = [] } = {}) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...elsewhere];
  const candidates = [...names.flatMap((name) => folders.map((folder) => join(folder, name))), ...paths];
  for (const candidate of candidates) if (await isExecutable(candidate)) return candidate;
  return undefined;
}

/** Installs a Debian package; whether that was possible. */
export async function installDebianPackage(name, reason) {
  if (process.getuid?.() !== 0 || !(await hasCommand('apt-get'))) return false;
  await run(`Installing ${reason} (apt-get)`, 'sh', [
    '-c',
    `apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ${name} >/dev/null`,
  ]);
  return true;
}

export async function isExecutable(path) {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function hasCommand(command) {
  return promisify(execFile)(command, ['--version']).then(
    () => true,
    () => false,
  );
}
